"""What a service forgets while it runs, once a minute."""

from collections.abc import AsyncIterator

import pytest

from sluice.application import forgetting as module
from sluice.application.pause_port import KeptPause
from sluice.domain.chat import Turn, now
from sluice.domain.errors import Unavailable
from sluice.domain.graph_state import Head, InputRequest, Pause
from sluice.infrastructure.composition.embedded import Embedded
from sluice.infrastructure.settings import read_settings
from sluice.interfaces.processes.forgetting import forgotten_in_time
from tests.doubles import a_job
from tests.waiting import until

ASKED = KeptPause(Pause(Head("thread", "1"), (InputRequest("x", "Who?", "text"),)), 1, now())


class CountingCheckpoints:
    def __init__(self, forgotten: list[str]) -> None:
        self._forgotten = forgotten

    async def forget(self, thread_id: str) -> None:
        self._forgotten.append(thread_id)


@pytest.fixture
async def container(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Embedded]:
    monkeypatch.setattr(module, "_INTERVAL_SECONDS", 0.01)
    container = Embedded(settings=read_settings(store="memory://", retention=0.001))
    await container.database().open()
    yield container
    await container.database().aclose()


async def test_what_a_job_in_no_chat_had_asked_is_forgotten_with_its_log(
    container: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses, job, tries = container.pauses(), a_job(history=(Turn("user", "Hi"),)), list[int]()
    forgotten, forget = list[str](), pauses.forget

    async def away_at_first() -> None:
        if not tries:
            tries.append(1)
            raise Unavailable
        await forget()
        tries.append(2)

    monkeypatch.setattr(pauses, "forget", away_at_first)
    await pauses.keep(job, ASKED)
    await pauses.close(job.id)
    await container.heads().leave("thread")
    monkeypatch.setattr(container.forget_threads(), "_checkpoints", CountingCheckpoints(forgotten))
    async with forgotten_in_time(container):
        await until(lambda: len(tries) > 1)
    assert (await pauses.last(job.id), forgotten) == (None, ["thread"])
