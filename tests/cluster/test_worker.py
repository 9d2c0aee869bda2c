"""What a worker makes of a delivery that another one has by now, or a zombie's hand in its job."""

import asyncio
from dataclasses import dataclass, field

import pytest

from sluice.application.ports import Stop
from sluice.application.process_chat import QUEUED
from sluice.domain.chat import Job
from sluice.domain.errors import Superseded
from sluice.infrastructure.event_log.memory import MemoryEventLog
from sluice.infrastructure.jobs.redis import worker
from sluice.infrastructure.jobs.redis.deliveries import Lease
from sluice.infrastructure.jobs.redis.places import Places
from sluice.infrastructure.jobs.redis.worker import JobWorker
from tests.cluster.conftest import BOUNDS, submitted
from tests.doubles import a_job
from tests.waiting import until


class LeaseHeld(Lease):
    """As often as it is told."""

    def __init__(self, times: int) -> None:
        super().__init__(self._never, asyncio.Timeout(None))
        self._times = times

    async def held(self) -> bool:
        self._times -= 1
        return self._times >= 0

    async def _never(self) -> None:
        raise AssertionError


@dataclass
class Bench:
    """A worker with a job for it; `error` is how the job's run ends."""

    url: str
    places: Places
    begun: list[tuple[str, int | None]] = field(default_factory=list)
    error: Exception | None = None
    gate: asyncio.Event | None = None
    log: MemoryEventLog = field(default_factory=MemoryEventLog)

    async def delivered(self, held: int) -> None:
        """The worker gets the job, and is told so often that it is its own."""
        self.lease, self.job = LeaseHeld(held), a_job()
        await self.log.create(self.job, QUEUED)
        await submitted(self.places, self.job)
        (self.given,) = await self.places.give(BOUNDS)
        jobs = JobWorker(self.url, self.places, self.log, self._run, BOUNDS)
        await jobs._deliver(self.given, self.lease)

    async def due(self) -> list[int]:
        """The rounds in which it is given out now."""
        return [given.round for given in await self.places.give(BOUNDS)]

    async def _run(self, job: Job, stop: Stop, after: int | None = None) -> None:
        self.begun.append((job.id, after))
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error


@pytest.fixture
def bench(places: Places, redis_url: str) -> Bench:
    return Bench(redis_url, places)


async def test_what_another_worker_has_is_not_taken(bench: Bench) -> None:
    await bench.delivered(held=0)
    assert await bench.places.take(bench.given, "the other") == ""
    assert (bench.begun, await bench.due()) == ([], [])


async def test_an_attempt_is_begun_after_those_that_had_begun_while_the_job_was_ones_own(
    bench: Bench,
) -> None:
    await bench.delivered(held=2)
    assert [after for _, after in bench.begun] == [0]


async def test_what_was_lost_after_it_was_taken_is_not_begun(bench: Bench) -> None:
    """Whoever has it now may have taken it before: then nobody else would finish it."""
    await bench.delivered(held=1)
    assert (bench.begun, await bench.due()) == ([], [2])


async def test_a_job_whose_run_a_zombie_has_superseded_is_given_out_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_PAUSE", 0)
    bench.error = Superseded()
    await bench.delivered(held=2)
    assert (len(bench.begun), await bench.due()) == (1, [2])


async def test_a_job_that_is_over_is_given_out_no_more(bench: Bench) -> None:
    await bench.delivered(held=2)
    assert (len(bench.begun), await bench.due()) == (1, [])
    assert await bench.places.take(bench.given, "again") is None


@pytest.mark.parametrize("emptied", [False, True])
async def test_a_run_whose_lease_is_lost_goes_on_if_the_job_is_lost_too(
    bench: Bench, emptied: bool
) -> None:
    """Nobody else has it then, and nobody else would write its end."""
    bench.gate = asyncio.Event()
    delivery = asyncio.create_task(bench.delivered(held=2))
    await until(lambda: bench.begun)
    if emptied:
        await bench.log.delete(bench.job.chat_id)
    bench.lease.lost.set()
    await asyncio.wait([delivery], timeout=0.2)
    assert delivery.done() is not emptied
    bench.gate.set()
    await delivery


async def test_a_job_that_crashes_is_not_given_out_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would crash hundreds of times in a second."""
    monkeypatch.setattr(worker, "_PAUSE", 60)
    bench.error = TypeError()
    delivery = asyncio.create_task(bench.delivered(held=2))
    await until(lambda: bench.begun)
    await asyncio.wait([delivery], timeout=0.2)
    assert await bench.due() == []
    delivery.cancel()
