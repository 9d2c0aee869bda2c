"""Both gateways are started anew, one after the other, and no reader of 200 can tell."""

import asyncio
import itertools
import signal
from collections.abc import Iterator, Sequence

import pytest

from sluice.offline_model import Gate, Reply
from sluice.offline_model.replies import Piece
from tests.cluster.conftest import WORDS, assert_whole, read
from tests.http.house import Frame
from tests.live.cluster import Cluster
from tests.live.process import AS_USERS_DO, Process
from tests.live.service import Service
from tests.live.stream import Stream
from tests.waiting import until

pytestmark = pytest.mark.timeout(240)

JOBS = 100


@pytest.fixture(scope="module", autouse=True)
def started_as_users_do() -> Iterator[None]:
    """How long a gateway is away is part of what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Process, "program", AS_USERS_DO)
        yield


class Reader:
    """Goes from gateway to gateway with its last id; `visits` are those that answered."""

    def __init__(self, job: str, gateways: Sequence[Service], first: int) -> None:
        self.job = job
        self._gateways = itertools.islice(itertools.cycle(gateways), first, None)
        self.visits: list[Stream] = []

    @property
    def seen(self) -> list[Frame]:
        return [frame for visit in self.visits for frame in visit.seen]

    async def read(self) -> None:
        while not self.visits or self.visits[-1].end is None:
            await self._visit(next(self._gateways))

    async def _visit(self, gateway: Service) -> None:
        stream = gateway.stream(self.job, self.seen[-1].id if self.seen else None)
        try:
            await stream.__aenter__()
        except ConnectionRefusedError:
            return
        self.visits.append(stream)
        try:
            await stream.all(120)
        finally:
            stream.leave()


def assert_never_hurt(reader: Reader) -> None:
    """Each body ended properly, with a word about coming back unless it was the last."""
    assert {visit.status for visit in reader.visits} == {200}
    assert all(visit.properly for visit in reader.visits)
    for visit in reader.visits[:-1]:
        assert len(visit.retries) == 2
        assert 1000 <= visit.retries[-1] <= 5000


async def test_a_rolling_restart_under_200_streams(cluster: Cluster) -> None:
    gates = [Gate(), Gate()]
    held: list[Piece] = [*WORDS[:60], gates[0], *WORDS[60:120], gates[1], *WORDS[120:]]
    cluster.says("rolling", Reply(held, pace=0.1))
    jobs = [(await cluster.gateways[n % 2].ask("rolling"))["job_id"] for n in range(JOBS)]
    readers = [Reader(job, cluster.gateways, first) for job in jobs for first in (0, 1)]
    async with asyncio.TaskGroup() as group:
        for reader in readers:
            group.create_task(reader.read())
        for gateway, gate in zip(cluster.gateways, gates, strict=True):
            # Whoever has come from the other one is told something before it has to go again.
            await until(lambda: all(r.visits and r.visits[-1].seen for r in readers), 20)
            gateway.tell(signal.SIGTERM)
            assert await gateway.gone() == 0
            await gateway.start()
            await cluster.ready(gateway)
            gate.release()
    late = {job: await read(cluster.gateways[0], job) for job in jobs}
    for reader in readers:
        assert_never_hurt(reader)
        assert_whole(reader.seen)
        assert but_tokens(reader.seen) == but_tokens(late[reader.job])
    assert sum(len(reader.visits) - 1 for reader in readers) >= 3 * JOBS


def but_tokens(seen: Sequence[Frame]) -> list[Frame]:
    """All but the tokens, which a late reader gets joined."""
    return [frame for frame in seen if frame.event != "token"]
