"""Each figure of a job's outcome, from what its relay told and how it ended."""

from datetime import timedelta

import pytest

from sluice.application.outcomes import outcome_of
from sluice.application.relay import Relay
from sluice.domain.chat import Job, now
from sluice.domain.errors import Internal, NotFound, Unavailable
from sluice.domain.events import (
    QUEUED,
    Cancelled,
    Done,
    Event,
    Failed,
    Reset,
    StageStarted,
    Terminal,
    Token,
    Usage,
)
from sluice.domain.outcome import JobOutcome
from sluice.domain.rollout import Flag
from sluice.infrastructure.event_log.memory import MemoryEventLog
from tests.doubles import RecordingNotifier, a_job

WORDS = Token("a", "x"), Token("b", "x")
DONE = Done("A2", "ab", usage=Usage(3, 2, 5))
FAILED = Failed.of(Internal(), "request")
BEGUN = now() - timedelta(seconds=1)


class NoLog(MemoryEventLog):
    """One that must not be read, or that cannot be."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    async def read(self, _: str) -> None:  # type: ignore[override]
        raise self._error


def told(*events: Event, attempt: int = 1) -> Relay:
    relay = Relay(RecordingNotifier(attempt), 1000)
    for event in events:
        relay._publish(event)
    return relay


async def outcome(
    end: Terminal, relay: Relay, job: Job | None = None, log: MemoryEventLog | None = None
) -> JobOutcome:
    return await outcome_of(
        job or a_job(),
        relay,
        end,
        status="failed",
        begun_at=BEGUN,
        log=log or NoLog(AssertionError()),
    )


async def test_an_answer_is_counted_with_its_usage_and_its_times() -> None:
    job, relay, before = a_job(), told(*WORDS), now()
    found = await outcome(DONE, relay, job)
    assert (found.job_id, found.arm, found.path) == (job.id, "A2", "A2")
    assert (found.admitted_at, found.begun_at) == (job.created_at, BEGUN)
    assert relay.first_token_at is not None
    assert found.first_token_at == relay.first_token_at
    assert found.answered_at == found.ended_at
    assert before <= found.ended_at <= now()
    assert (found.status, found.error, found.cancelled_by) == ("failed", None, None)
    assert (found.tokens, found.thrown_away) == (2, 0)
    assert (found.input_tokens, found.output_tokens) == (3, 2)
    assert (found.attempts, found.fell_back, found.spoiled) == (1, False, False)


async def test_an_answer_whose_upstream_counts_nothing_has_no_usage() -> None:
    found = await outcome(Done("A2", "ab"), told(*WORDS))
    assert (found.input_tokens, found.output_tokens) == (None, None)


@pytest.mark.parametrize(
    ("end", "error", "cancelled_by"),
    [(FAILED, "internal", None), (Cancelled("orphaned"), None, "orphaned")],
)
async def test_what_was_streamed_is_thrown_away_where_there_is_no_answer(
    end: Terminal, error: str | None, cancelled_by: str | None
) -> None:
    found = await outcome(end, told(*WORDS, Reset("revised"), *WORDS, WORDS[0]))
    assert (found.error, found.cancelled_by) == (error, cancelled_by)
    assert (found.tokens, found.thrown_away, found.answered_at) == (0, 5, None)
    assert found.spoiled


async def test_the_decision_is_the_flags_and_a_job_of_an_earlier_version_is_in_no_rollout() -> None:
    found = await outcome(DONE, told(), a_job(flag=Flag(5, "header", "control", "r")))
    assert (found.share, found.reason, found.source) == (5, "header", "control")
    assert (found.rollout, found.left_out) == ("r", "header")
    found = await outcome(DONE, told(), a_job())
    assert (found.share, found.reason, found.source) == (100, "static", "env")
    assert (found.rollout, found.left_out) == (None, None)


@pytest.mark.parametrize(
    ("path", "text", "spoiled"), [("A2", "ab", False), ("A2", "b", True), ("A1", "b", False)]
)
async def test_only_an_answer_that_was_streamed_can_be_another_than_what_was_shown(
    path: str, text: str, *, spoiled: bool
) -> None:
    done = Done(path, text)
    found = await outcome(done, told(*WORDS), a_job(path=path))
    assert found.spoiled is spoiled


async def test_a_job_that_fell_back_ran_on_the_other_path() -> None:
    relay = told(StageStarted("x", 0))
    relay.fall_back(RecordingNotifier(2))
    found = await outcome(Done("A1", "ab"), relay, log=NoLog(NotFound()))
    assert (found.arm, found.path, found.fell_back, found.attempts) == ("A2", "A1", True, 2)
    assert not found.spoiled


async def test_a_wait_for_a_human_is_no_time_of_an_answer() -> None:
    relay = told()
    relay.recall(WORDS)
    found = await outcome(DONE, relay)
    relay._publish(WORDS[0])
    found = await outcome(DONE, relay)
    assert (found.first_token_at, found.answered_at) == (None, None)
    assert found.ended_at is not None


async def test_what_earlier_attempts_have_shown_is_thrown_away_and_spoils_the_answer() -> None:
    log, job = MemoryEventLog(), a_job()
    await log.create(job, QUEUED)
    (await log.begin(job.id)).publish(StageStarted("x", 0), *WORDS)
    (await log.begin(job.id)).publish(Reset("new_attempt"), QUEUED, WORDS[0])
    (await log.begin(job.id)).publish(Reset("new_attempt"), QUEUED, *WORDS)
    found = await outcome(DONE, told(*WORDS, attempt=3), job, log)
    assert (found.attempts, found.tokens, found.thrown_away, found.spoiled) == (3, 2, 3, True)
    found = await outcome(FAILED, told(*WORDS, attempt=3), job, log)
    assert (found.tokens, found.thrown_away) == (0, 5)


@pytest.mark.parametrize("error", [NotFound(), Unavailable("away")])
async def test_of_a_log_that_cannot_be_read_nothing_is_known(error: Exception) -> None:
    found = await outcome(DONE, told(*WORDS, attempt=2), log=NoLog(error))
    assert (found.thrown_away, found.spoiled) == (0, False)
