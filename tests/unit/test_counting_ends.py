"""What an operator's figures say of jobs that are over."""

from datetime import UTC, datetime, timedelta

import pytest

from sluice.application import metrics as counting
from sluice.application.metrics import ANSWER, JobMetrics, count_end
from sluice.application.relay import Relay
from sluice.domain.chat import Question
from sluice.domain.events import Cancelled, Done, Event, Failed, Reset, Token, Usage
from tests.doubles import MockPipeline, RecordingNotifier, a_job

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
SO = Token("so", "answer")
DONE = Done("A2", "so", usage=Usage(3, 2, 5))
FAILED = Failed("internal", "Sorry.", retryable=True, request_id="r")


async def ended(metrics: JobMetrics, end: Event, *told: Event, **known: object) -> None:
    """A job that was answered in three seconds, its first token in two."""
    job, relay = a_job(created_at=AT), Relay(RecordingNotifier(), 99)
    await relay.run(MockPipeline(*told, DONE), Question(job))
    if relay.first_token_at is not None:
        relay.first_token_at = AT + timedelta(seconds=2)
    for name, value in known.items():
        setattr(relay, name, value)
    count_end(metrics, job, relay, end)  # type: ignore[arg-type]


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> JobMetrics:
    monkeypatch.setattr(counting, "now", lambda: AT + timedelta(seconds=3))
    return JobMetrics()


async def test_jobs_are_counted_by_how_they_ended(metrics: JobMetrics) -> None:
    for end in (DONE, FAILED, Cancelled("user")):
        for _ in range(2):
            await ended(metrics, end, fallen_back=True)
    ends = ("completed", "failed", "cancelled")
    assert metrics.ended == {("A2", end): 2 for end in ends}
    assert (metrics.errors, metrics.fallbacks) == ({"internal": 2}, 6)


async def test_tokens_add_up_and_what_nobody_keeps_is_thrown_away(metrics: JobMetrics) -> None:
    for _ in range(2):
        await ended(metrics, DONE, SO, SO, Reset("revised"), SO)
        await ended(metrics, FAILED, SO, Reset("revised"), SO)
    await ended(metrics, Done("A2", "so"), SO)
    kinds = {"input": 6, "output": 4, "thrown_away": 8}
    assert metrics.tokens == {("A2", kind): count for kind, count in kinds.items()}
    await ended(quiet := JobMetrics(), Cancelled("user"))
    assert quiet.tokens == {}


async def test_times_count_from_the_question_and_leave_a_humans_out(metrics: JobMetrics) -> None:
    for _ in range(2):
        await ended(metrics, DONE, SO)
    await ended(metrics, DONE, SO, waited=True)
    await ended(metrics, FAILED)
    first, answer = metrics.first_token["A2"], metrics.answer["A2"]
    assert (sum(first.counts), first.total) == (2, 4)
    assert (sum(answer.counts), answer.total) == (2, 6)
    assert answer.counts[[bound >= 3 for bound in ANSWER].index(True)] == 2
    answer.add(10_000)
    assert (len(answer.counts), answer.counts[-1]) == (len(ANSWER) + 1, 1), "above all bounds"
