"""What is kept of a job before its end is told, and which end waits for it."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from sluice.application import keep_end as module
from sluice.application.keep_end import KeepEnd
from sluice.application.relay import Relay
from sluice.domain.chat import now
from sluice.domain.errors import Internal, Unavailable
from sluice.domain.events import QUEUED, Cancelled, Done, Failed, Reset, Terminal, Token
from sluice.domain.graph_state import Head
from sluice.infrastructure.event_log.memory import MemoryEventLog
from tests.doubles import RecordingNotifier, a_job
from tests.waiting import until

WORD, DONE, HEAD = Token("a", "x"), Done("A2", "ab"), Head("chat", "1")
FAILED, STOPPED = Failed.of(Internal(), "request"), Cancelled("user")
BEGUN = now() - timedelta(seconds=1)


class House:
    """A store of chats that is asked to keep ends, and may wait or fail."""

    def __init__(self) -> None:
        self.log, self.job = MemoryEventLog(), a_job()
        self.kept: list[tuple[Any, ...]] = []
        self.there = asyncio.Event()
        self.there.set()
        self.error: Exception | None = None

    async def keep_answer(self, *given: Any) -> None:
        await self.there.wait()
        if self.error is not None:
            raise self.error
        self.kept.append(given)

    async def ends(
        self, end: Terminal, *told: Token, attempt: int = 1, head: Head | None = None
    ) -> None:
        relay = Relay(RecordingNotifier(attempt), 100)
        relay.tell_again(told)
        async with asyncio.timeout(5):
            await KeepEnd(self, self.log)(self.job, relay, end, BEGUN, head)  # type: ignore[arg-type]


@pytest.fixture
def house() -> House:
    return House()


@pytest.mark.parametrize(
    ("end", "answer", "status"),
    [(DONE, "ab", "completed"), (FAILED, "a", "failed"), (STOPPED, "a", "cancelled")],
)
async def test_the_answer_or_what_was_said_of_it_is_kept_with_the_outcome_and_the_head(
    house: House, end: Terminal, answer: str, status: str
) -> None:
    await house.ends(end, WORD, attempt=2, head=HEAD)
    ((job, kept, how, attempt, outcome, head),) = house.kept
    assert (job, kept, how, attempt, head) == (house.job, answer, status, 2, HEAD)
    assert (outcome.job_id, outcome.status, outcome.begun_at) == (house.job.id, status, BEGUN)
    assert (outcome.attempts, outcome.error is not None) == (2, end is FAILED)


async def test_what_earlier_attempts_have_shown_is_in_the_outcome(house: House) -> None:
    await house.log.create(house.job, QUEUED)
    (await house.log.begin(house.job.id)).publish(WORD)
    (await house.log.begin(house.job.id)).publish(Reset("new_attempt"))
    await house.ends(DONE, WORD, attempt=2)
    assert house.kept[0][4].thrown_away == 1


async def test_a_job_in_no_chat_leaves_its_outcome_and_no_text(house: House) -> None:
    house.job = a_job(history=())
    await house.ends(DONE, WORD)
    assert [given[1] for given in house.kept] == [""]


@pytest.mark.parametrize(
    ("end", "told", "attempt", "keeps"),
    [
        (Cancelled("shutdown"), [], 1, 0),
        (Cancelled("shutdown"), [WORD], 1, 1),
        (Cancelled("shutdown"), [], 2, 1),
        (STOPPED, [], 1, 1),
    ],
)
async def test_only_a_job_of_which_nobody_was_told_leaves_nothing(
    house: House, end: Terminal, told: list[Token], attempt: int, keeps: int
) -> None:
    await house.ends(end, *told, attempt=attempt)
    assert len(house.kept) == keeps


@pytest.mark.parametrize(
    ("told", "attempt", "head"), [([WORD], 1, None), ([], 2, None), ([], 1, HEAD)]
)
async def test_an_end_that_has_something_to_keep_or_to_take_back_waits_for_the_store(
    house: House, told: list[Token], attempt: int, head: Head | None
) -> None:
    house.error = Unavailable("away")
    with pytest.raises(Unavailable):
        await house.ends(STOPPED, *told, attempt=attempt, head=head)


@pytest.mark.parametrize("history", [None, ()])
async def test_any_other_end_waits_for_a_moment_and_its_outcome_is_written_later(
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    history: tuple[()] | None,
) -> None:
    monkeypatch.setattr(module, "_OUTCOME_TIMEOUT_SECONDS", 0.01)
    house.job = a_job(history=history)
    house.there.clear()
    await house.ends(STOPPED, *[WORD] * (history is not None))
    assert (len(KeepEnd._late), house.kept) == (1, [])
    house.there.set()
    await until(lambda: not KeepEnd._late)
    assert len(house.kept) == 1
    assert caplog.records == []


@pytest.mark.parametrize(
    ("error", "level", "text"),
    [(Unavailable("away"), "WARNING", "written"), (ValueError(), "ERROR", "written: ValueError")],
)
async def test_an_outcome_that_could_not_be_written_is_logged(
    house: House, caplog: pytest.LogCaptureFixture, error: Exception, level: str, text: str
) -> None:
    house.error = error
    await house.ends(STOPPED)
    await until(lambda: not KeepEnd._late)
    (record,) = caplog.records
    assert record.levelname == level
    assert f"an outcome could not be {text}" in record.getMessage()


async def test_one_whose_loop_ends_first_is_let_go(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_OUTCOME_TIMEOUT_SECONDS", 0.01)
    house.there.clear()
    await house.ends(STOPPED)
    (late,) = KeepEnd._late
    late.cancel()
    await until(lambda: not KeepEnd._late)
    assert caplog.records == []
