"""A job that A2 cannot begin to answer: A1 runs it, as the next attempt."""

import asyncio
from typing import Any

import pytest

from sluice.application.metrics import JobMetrics
from sluice.application.ports import Tell
from sluice.application.process_chat import ProcessChat
from sluice.domain.chat import Question
from sluice.domain.errors import (
    Declined,
    PipelineError,
    StateLost,
    Superseded,
    UpstreamTruncated,
)
from sluice.domain.events import (
    QUEUED,
    Cancelled,
    CancelReason,
    Done,
    Failed,
    Reset,
    StageFailed,
    Token,
)
from sluice.domain.graph_state import Outcome
from tests.doubles import MockPipeline
from tests.unit.process_chat.bench import COMPLETED, STARTED, Bench, failed, reads

FALLBACK = (STARTED, COMPLETED, Done("A1", "ab"))


async def test_what_a2_cannot_begin_to_answer_runs_on_a1_as_the_next_attempt(bench: Bench) -> None:
    other = MockPipeline(*FALLBACK)
    await bench.process(STARTED, PipelineError("a canary"), fallback=other)(bench.job)
    assert await bench.told() == [STARTED, Reset("new_attempt"), QUEUED, *FALLBACK]
    assert await bench.kept() == [("user", "Why?", "completed"), ("assistant", "ab", "completed")]
    (row,) = await bench.outcomes.page(after=0, limit=9)
    found = row.outcome
    assert (found.arm, found.path, found.fell_back, found.attempts) == ("A2", "A1", True, 2)


@pytest.mark.parametrize(
    ("plays", "code"),
    [
        ([Token("a", "x"), PipelineError("late")], "pipeline_error"),
        ([UpstreamTruncated()], "upstream_truncated"),
        ([Declined()], "pipeline_error"),
        ([StateLost()], "pipeline_error"),
        ([asyncio.Event], "deadline_exceeded"),
    ],
)
async def test_nothing_falls_back_that_has_spoken_or_failed_by_another_fault(
    bench: Bench, plays: list[Any], code: str
) -> None:
    other = MockPipeline(*FALLBACK)
    plays = [play() if play is asyncio.Event else play for play in plays]
    await bench.process(*plays, fallback=other, deadline=0.05)(bench.job)
    end = (await bench.told())[-1]
    assert isinstance(end, Failed)
    assert end.code == code
    assert other.asked == []


async def test_an_unforeseen_fault_of_a2_falls_back_too_and_is_logged(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.process(RuntimeError("secret"), fallback=MockPipeline(*FALLBACK))(bench.job)
    assert (await bench.told())[-1] == Done("A1", "ab")
    assert f"job {bench.job.id} falls back, request request: RuntimeError (" in caplog.text
    assert "secret" not in caplog.text


async def test_a_fallback_is_one_of_the_two_attempts(bench: Bench) -> None:
    """The first was lost with its worker: there is none left."""
    await bench.log.begin(bench.job.id)
    other = MockPipeline(*FALLBACK)
    await bench.process(PipelineError("again"), fallback=other)(bench.job)
    assert (await bench.told())[-1] == failed(PipelineError)
    assert other.asked == []


async def test_a_fallback_that_fails_is_the_jobs_end(bench: Bench) -> None:
    other = MockPipeline(STARTED, UpstreamTruncated())
    await bench.process(PipelineError("first"), fallback=other)(bench.job)
    told = await bench.told()
    assert told[-2:] == [StageFailed("answer", 0), failed(UpstreamTruncated)]


async def test_a_job_that_is_cancelled_does_not_fall_back(bench: Bench) -> None:
    other, reason = MockPipeline(*FALLBACK), list[CancelReason]()
    task = asyncio.create_task(
        bench.process(STARTED, asyncio.Event(), fallback=other)(
            bench.job, lambda: reason[0] if reason else None
        )
    )
    await reads(bench, 2)
    reason.append("user")
    task.cancel()
    await task
    assert (await bench.told())[-1] == Cancelled("user")
    assert other.asked == []


async def test_a_job_that_another_attempt_has_taken_over_does_not_fall_back(bench: Bench) -> None:
    class Overtaken(MockPipeline):
        async def run(self, question: Question, tell: Tell, /) -> Outcome:
            await bench.log.begin(bench.job.id)
            return await super().run(question, tell)

    other, slow = MockPipeline(*FALLBACK), Overtaken(PipelineError("late"))
    process = ProcessChat(slow, bench.log, bench.chats, JobMetrics(), bench.pauses, fallback=other)
    with pytest.raises(Superseded):
        await process(bench.job)
    assert other.asked == []
