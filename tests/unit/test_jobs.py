"""What a job looks like from outside, at every moment of its life."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from sluice.application.jobs import view
from sluice.application.pause_port import KeptPause
from sluice.application.ports import JobLog
from sluice.domain.chat import now
from sluice.domain.errors import Internal, NotFound
from sluice.domain.events import (
    QUEUED,
    Cancelled,
    Cursor,
    Done,
    Event,
    Failed,
    NeedsInput,
    Recorded,
    Reset,
    StageCompleted,
    StageFailed,
    StageStarted,
    Token,
)
from sluice.domain.graph_state import Head, InputRequest, Pause
from tests.doubles import a_job
from tests.use_cases import use_cases

pytestmark = pytest.mark.usefixtures("no_task_left")

STARTED, DONE = StageStarted("answer", 10), Done("A2", "ab")
WORDS = Token("a", "answer"), Token("b", "answer")
FAILED = Failed.of(Internal(), "request")


@pytest.mark.parametrize(
    ("events", "status", "text"),
    [
        ([], "queued", None),
        ([STARTED], "running", None),
        ([STARTED, *WORDS], "running", "ab"),
        ([STARTED, *WORDS, Reset("revised")], "running", None),
        ([STARTED, *WORDS, Reset("revised"), Token("c", "answer")], "running", "c"),
        ([STARTED, StageCompleted("answer", 100), DONE], "completed", None),
        ([STARTED, *WORDS, DONE], "completed", "ab"),
        ([STARTED, WORDS[0], FAILED], "failed", "a"),
        ([STARTED, WORDS[0], Cancelled("user")], "cancelled", "a"),
        ([Cancelled("orphaned")], "cancelled", None),
    ],
)
async def test_status_and_text_are_what_the_log_says(
    events: list[Event], status: str, text: str | None
) -> None:
    async with use_cases() as house:
        job = await house.a_log(*events)
        seen = await house.show_job("ann", job.id)
        assert (seen.job, seen.status, seen.text) == (job, status, text)
        assert seen.last_event_id == Cursor(1, 1 + len(events))


async def test_a_job_that_is_over_shows_its_end_and_when_it_came() -> None:
    async with use_cases() as house:
        job = await house.a_log(DONE)
        seen = await house.show_job("ann", job.id)
        assert seen.end == DONE
        assert seen.ended_at is not None
        assert seen.ended_at >= job.created_at


async def test_a_job_that_runs_has_no_end() -> None:
    async with use_cases() as house:
        job = await house.a_log(STARTED)
        seen = await house.show_job("ann", job.id)
        assert (seen.end, seen.ended_at) == (None, None)


async def test_a_cancelled_job_has_an_end_but_neither_an_answer_nor_an_error() -> None:
    async with use_cases() as house:
        job = await house.a_log(Cancelled("user"))
        seen = await house.show_job("ann", job.id)
        assert seen.end is None
        assert seen.ended_at is not None


async def test_the_text_of_an_earlier_attempt_is_forgotten() -> None:
    job = a_job()
    told: list[tuple[Cursor, Event]] = [
        (Cursor(1, 1), QUEUED),
        (Cursor(1, 2), STARTED),
        (Cursor(1, 3), WORDS[0]),
        (Cursor(2, 1), Reset("new_attempt")),
        (Cursor(2, 2), QUEUED),
        (Cursor(2, 3), STARTED),
        (Cursor(2, 4), WORDS[1]),
    ]
    seen = view(JobLog(job, [Recorded(*one) for one in told]))
    assert (seen.status, seen.text, seen.last_event_id) == ("running", "b", Cursor(2, 4))


async def test_a_job_waits_for_a_human_until_anything_is_told() -> None:
    asked = NeedsInput("x", "Who?", "text", "2026-12-01T00:00:00Z")
    told: list[Event] = [QUEUED, STARTED, WORDS[0], asked]
    log = [Recorded(Cursor(1, n), event) for n, event in enumerate(told, 1)]
    assert view(JobLog(a_job(), log)).status == "waiting"
    revised = Recorded(Cursor(1, 5), Reset("revised"))
    assert view(JobLog(a_job(), [*log, revised])).status == "running"


@pytest.mark.parametrize("over", [StageCompleted("look", 60), StageFailed("look", 60)])
async def test_a_job_whose_stage_ends_behind_a_question_runs_again(over: Event) -> None:
    asked = NeedsInput("x", "Who?", "text", "2026-12-01T00:00:00Z")
    told: list[Event] = [QUEUED, STARTED, asked]
    log = [Recorded(Cursor(1, n), event) for n, event in enumerate(told, 1)]
    assert view(JobLog(a_job(), log)).status == "waiting"
    log.append(Recorded(Cursor(1, 4), over))
    assert view(JobLog(a_job(), log)).status == "running"


async def test_a_job_that_has_all_its_answers_waits_no_more() -> None:
    asked = [InputRequest(each, "Who?", "text") for each in ("a", "b")]
    told = [NeedsInput(each.input_id, "Who?", "text", "2026-12-01T00:00:00Z") for each in asked]
    async with use_cases() as house:
        job = await house.a_log(STARTED, *told)
        waiting = await house.show_job("ann", job.id)
        kept = KeptPause(Pause(Head(job.chat_id), tuple(asked)), 1, now() + timedelta(hours=1))
        await house.pauses.keep(job, kept)
        await house.pauses.answer(job.id, "a", "Ann")
        missing = frozenset({"b"})
        assert await house.show_job("ann", job.id) == replace(waiting, missing=missing)
        await house.pauses.answer(job.id, "b", "Bob")
        assert await house.show_job("ann", job.id) == replace(waiting, status="queued")
        assert waiting.status == "waiting"


async def test_only_a_job_that_waits_is_asked_for_its_answers() -> None:
    async with use_cases() as house:
        job = await house.a_log(STARTED)
        kept = KeptPause(Pause(Head(job.chat_id), ()), 1, now() + timedelta(hours=1))
        await house.pauses.keep(job, kept)
        assert (await house.show_job("ann", job.id)).status == "running"


async def test_a_view_has_the_log_and_how_often_its_text_was_taken_back() -> None:
    told: list[Event] = [QUEUED, WORDS[0], Reset("revised"), WORDS[1], Reset("revised")]
    log = [Recorded(Cursor(1, n), event) for n, event in enumerate(told, 1)]
    assert [view(JobLog(a_job(), log[:n])).resets for n in range(1, 6)] == [0, 0, 1, 1, 2]
    assert view(JobLog(a_job(), log)).events == log


async def test_a_job_that_begins_again_waits_again() -> None:
    job = a_job()
    told: list[tuple[Cursor, Event]] = [
        (Cursor(1, 1), QUEUED),
        (Cursor(1, 2), STARTED),
        (Cursor(2, 1), Reset("new_attempt")),
        (Cursor(2, 2), QUEUED),
    ]
    assert view(JobLog(job, [Recorded(*one) for one in told])).status == "queued"


async def test_anothers_job_is_neither_shown_nor_cancelled() -> None:
    async with use_cases(asyncio.Event()) as house:
        accepted = await house.ask()
        for user, job_id in (("bob", accepted.job_id), ("ann", "nobodys")):
            with pytest.raises(NotFound):
                await house.show_job(user, job_id)
            with pytest.raises(NotFound):
                await house.cancel(user, job_id)
        assert (await house.show_job("ann", accepted.job_id)).ended_at is None


async def test_a_running_job_is_cancelled_with_its_text_kept() -> None:
    async with use_cases(STARTED, WORDS[0], asyncio.Event()) as house:
        accepted = await house.ask()
        stream = await house.follow("ann", accepted.job_id, after=None)
        async for batch in stream:
            if any(isinstance(one.event, Token) for one in batch.events):
                await house.cancel("ann", accepted.job_id)
        assert batch.events[-1].event == Cancelled("user")
        seen = await house.show_job("ann", accepted.job_id)
        assert (seen.status, seen.text) == ("cancelled", "a")
        assert (await house.said(accepted.chat_id))[-1] == ("assistant", "a", "cancelled")


async def test_cancelling_again_or_too_late_changes_nothing() -> None:
    async with use_cases(DONE) as house:
        accepted = await house.ask()
        await house.read(accepted.job_id)
        for _ in range(2):
            await house.cancel("ann", accepted.job_id)
        assert (await house.show_job("ann", accepted.job_id)).status == "completed"
