"""A job that waits for a human: it asks, holds nothing but its chat's place, and goes on once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from sluice.application import pauses as pauses_module
from sluice.application.pauses import Pauses
from sluice.application.scheduling import Bounds
from sluice.application.unread import CancelUnread
from sluice.domain.chat import JobId, now
from sluice.domain.errors import (
    AnswerTooLarge,
    Conflict,
    DeadlineExceeded,
    Expired,
    NotFound,
    PipelineError,
    Refused,
    StreamLost,
    Unavailable,
)
from sluice.domain.events import (
    QUEUED,
    Cancelled,
    Done,
    Event,
    Failed,
    Json,
    NeedsInput,
    Reset,
    StageCompleted,
    StageStarted,
    Token,
)
from sluice.domain.graph_state import Head, InputRequest, Pause, Resumption
from sluice.domain.guard.observed import observed
from sluice.domain.guard.plan import Plan
from sluice.domain.outcome import Delivered, StoredOutcome
from tests.doubles import MockPipeline, an_outcome
from tests.use_cases import ONE_AND_ONE, UseCases, use_cases
from tests.waiting import until

SEND = InputRequest("send", "Send it?", "approval", {"type": "boolean"})
NAME = InputRequest("name", "Who?", "text")
PAUSE = Pause(Head("chat", "1"), (SEND,))
BOTH = Pause(Head("chat", "1"), (SEND, NAME))
SAID = StageStarted("ask", 0), Token("I would send it. ", "ask")
REST = Token("Sent.", "ask"), StageCompleted("ask", 100)
DONE = Done("A2", "I would send it. Sent.")
PLAYS = (*SAID, PAUSE, *REST, DONE)


@pytest.fixture
async def house() -> AsyncIterator[UseCases]:
    async with use_cases(*PLAYS) as house:
        yield house


async def paused(house: UseCases, **asked: Any) -> JobId:
    """The id of a job that waits."""
    job_id = (await house.ask(**asked)).job_id
    await waits(house, job_id)
    return job_id


async def waits(house: UseCases, job_id: JobId) -> None:
    await until(lambda: state(house, job_id) == "paused")


def state(house: UseCases, job_id: JobId) -> str | None:
    entry = house.queue._entries.get(job_id)
    return None if entry is None else entry.state


async def told(house: UseCases, job_id: JobId) -> list[Event]:
    """Without the first."""
    return [one.event for one in (await house.log.read(job_id)).events][1:]


def questions(events: list[Event]) -> list[str]:
    return [event.input_id for event in events if isinstance(event, NeedsInput)]


async def test_it_asks_and_goes_on_as_the_same_attempt(house: UseCases) -> None:
    job_id = await paused(house)
    asked = (await told(house, job_id))[-1]
    assert isinstance(asked, NeedsInput)
    assert (asked.prompt, asked.kind, asked.schema) == ("Send it?", "approval", SEND.schema)
    assert (await house.show_job("ann", job_id)).status == "waiting"
    await house.answer("ann", job_id, "send", True)
    records = await house.records(job_id)
    assert [one.event for one in records][1:] == [*SAID, asked, *REST, DONE]
    assert [tuple(one.id) for one in records] == [(1, seq) for seq in range(1, 8)]
    assert house.pipeline.asked[1].resumption == Resumption(PAUSE, {"send": True})
    assert await house.said(house.pipeline.asked[0].job.chat_id) == [
        ("user", "Why?", "completed"),
        ("assistant", DONE.answer, "completed"),
    ]
    assert (await house.show_job("ann", job_id)).status == "completed"


async def test_it_goes_on_when_all_answers_are_in_and_the_same_one_again_changes_nothing() -> None:
    async with use_cases(*SAID, BOTH, *REST, DONE) as house:
        job_id = await paused(house)
        assert questions(await told(house, job_id)) == ["send", "name"]
        for _ in range(2):
            await house.answer("ann", job_id, "name", "Bob")
            assert state(house, job_id) == "paused"
        await house.answer("ann", job_id, "send", False)
        events = await house.read(job_id)
        assert events[-1] == DONE
        for _ in range(2):
            await house.answer("ann", job_id, "send", False)
            await house.answer("ann", job_id, "name", "Bob")
        with pytest.raises(Conflict):
            await house.answer("ann", job_id, "name", "Eve")
        assert await house.read(job_id) == events
        assert len(house.pipeline.asked) == 2


async def test_answers_that_come_at_once_resume_it_once() -> None:
    async with use_cases(*SAID, BOTH, *REST, DONE) as house:
        job_id = await paused(house)
        given: list[tuple[str, Json]] = [("name", "Bob"), ("send", True)] * 5
        await asyncio.gather(*(house.answer("ann", job_id, *each) for each in given))
        assert (await house.read(job_id))[-1] == DONE
        assert len(house.pipeline.asked) == 2


async def test_a_job_may_ask_again_and_again() -> None:
    another = Pause(Head("chat", "2"), (NAME,))
    async with use_cases(*SAID, PAUSE, another, *REST, DONE) as house:
        job_id = await paused(house)
        await house.answer("ann", job_id, "send", True)
        await until(lambda: len(house.pipeline.asked) == 2)
        await waits(house, job_id)
        await house.answer("ann", job_id, "send", True)
        await house.answer("ann", job_id, "name", "Bob")
        events = await house.read(job_id)
        assert questions(events) == ["send", "name"]
        assert events[-1] == DONE
        assert house.pipeline.asked[-1].resumption == Resumption(another, {"name": "Bob"})


@pytest.mark.parametrize(
    ("input_id", "value", "error"),
    [
        ("send", "yes", Refused),
        ("send", None, Refused),
        ("nothing", True, Conflict),
    ],
)
async def test_what_does_not_answer_it_is_refused(
    house: UseCases, input_id: str, value: Any, error: type[Exception]
) -> None:
    job_id = await paused(house)
    with pytest.raises(error):
        await house.answer("ann", job_id, input_id, value)
    with pytest.raises(NotFound):
        await house.answer("bob", job_id, "send", True)
    assert state(house, job_id) == "paused"


async def test_it_holds_no_slot_but_its_chats_place() -> None:
    async with use_cases(*PLAYS, bounds=Bounds(running=1, queued=1)) as house:
        chat = (await house.a_chat()).id
        first = await paused(house, chat_id=chat)
        other = await paused(house)
        behind = await house.ask(chat_id=chat)
        assert (house.queue.running, house.queue.queued) == (0, 1)
        assert state(house, behind.job_id) == "waiting"
        await house.answer("ann", first, "send", True)
        assert (await house.read(first))[-1] == DONE
        await waits(house, behind.job_id)
        assert state(house, other) == "paused"


async def test_a_busy_chat_refuses_or_interrupts_it() -> None:
    async with use_cases(*PLAYS, when_busy="reject") as house:
        await paused(house, chat_id=(await house.a_chat()).id)
        with pytest.raises(Conflict):
            await house.ask(chat_id="chat")
    async with use_cases(*PLAYS, when_busy="interrupt") as house:
        first = await paused(house, chat_id=(await house.a_chat()).id)
        second = await house.ask(chat_id="chat")
        assert (await house.read(first))[-1] == Cancelled("user")
        await waits(house, second.job_id)


async def test_cancelled_while_it_waits_it_ends_at_once_with_what_it_has_said(
    house: UseCases,
) -> None:
    job_id = await paused(house, chat_id=(await house.a_chat()).id)
    await house.cancel("ann", job_id)
    records = await house.records(job_id)
    assert records[-1].event == Cancelled("user")
    assert records[-1].id.attempt == 1
    assert await house.said() == [
        ("user", "Why?", "completed"),
        ("assistant", SAID[1].content, "cancelled"),
    ]
    with pytest.raises(Conflict):
        await house.answer("ann", job_id, "send", True)


async def test_nobody_answers_in_time_and_it_fails_its_stages_too() -> None:
    async with use_cases(*PLAYS, input_timeout=0.05) as house:
        job_id = (await house.ask()).job_id
        *_, asked, stage, end = await house.read(job_id)
        assert questions([asked]) == ["send"]
        assert type(stage).__name__ == "StageFailed"
        assert end == Failed.of(DeadlineExceeded(), "request")
        with pytest.raises(Expired):
            await house.answer("ann", job_id, "send", True)


@pytest.mark.parametrize("lost", [False, True])
async def test_what_a_human_takes_is_no_time_of_an_answer_in_the_figures(
    house: UseCases, *, lost: bool
) -> None:
    """Neither if the worker was `lost` behind the answer, and all is told again."""
    job = await paused(house)
    await house.pauses.answer(job, "send", True)
    if lost:
        await house.log.begin(job, goes_on=True)
    await house.processing(house.pipeline)(house.pipeline.asked[0].job)
    (row,) = await house.outcomes.page(after=0, limit=9)
    found = row.outcome
    assert (found.status, found.attempts) == ("completed", 1 + lost)
    assert (found.first_token_at, found.answered_at) == (None, None)
    assert (house.metrics.first_token, house.metrics.answer) == ({}, {})


async def test_what_its_reader_is_handed_behind_the_question_is_no_first_character() -> None:
    async with use_cases(PAUSE, *REST, Done("A2", "Sent.")) as house:
        job = await paused(house)
        reading = asyncio.create_task(house.read(job))
        await until(lambda: any(one.seen for one in house.deliveries._open.values()))
        await house.answer("ann", job, "send", True)
        assert (await reading)[-1] == Done("A2", "Sent.")
        await house.deliveries.flush()
        (row,) = await house.outcomes.page(after=0, limit=9)
        assert row.delivered == Delivered(job, None, None, seen=True)
        assert house.metrics.first_character == {}


async def test_a_job_that_waited_is_not_slow_to_the_guard(house: UseCases) -> None:
    """Though its reader came to another gateway, which does not know that it had asked."""
    job = await house.a_log()
    late = Delivered(job.id, job.created_at + timedelta(minutes=5), None, seen=True)
    row = StoredOutcome(1, now(), "ann", True, an_outcome(job, answered_at=None), late)
    seen = observed(row, Plan.parse({"steps": [{"share": 50}], "limits": {"slow_seconds": 5}}))
    assert seen is not None
    assert seen.slow is None


async def test_what_fell_back_before_it_asked_goes_on_where_it_fell(house: UseCases) -> None:
    job = await house.a_log()
    own, other = MockPipeline(PipelineError("early")), MockPipeline(PAUSE, Done("A1", "Sent."))
    process = house.processing(own, fallback=other)
    assert await process(job) is not None
    await house.pauses.answer(job.id, "send", True)
    assert await process(job) is None
    assert (await told(house, job.id))[-1] == Done("A1", "Sent.")
    assert (len(own.asked), len(other.asked)) == (1, 2)
    (row,) = await house.outcomes.page(after=0, limit=9)
    assert (row.outcome.path, row.outcome.fell_back) == ("A1", True)


async def test_what_a_human_takes_does_not_count_against_the_deadline(house: UseCases) -> None:
    job_id = await paused(house)
    kept = await house.pauses.last(job_id)
    assert kept is not None
    assert 0 <= kept.spent < 5


async def test_what_the_runs_before_took_is_added_up_over_all_pauses() -> None:
    again = Pause(Head("chat", "2"), (NAME,))
    async with use_cases(*SAID, PAUSE, again, DONE) as house:
        job_id = await paused(house)
        first = await house.pauses.last(job_id)
        await house.answer("ann", job_id, "send", True)
        await until(lambda: len(house.pipeline.asked) == 2)
        await waits(house, job_id)
        second = await house.pauses.last(job_id)
        assert first is not None
        assert second is not None
        assert second.pause == again
        assert 0 < first.spent < second.spent < 5


async def test_a_run_that_dies_behind_the_answer_is_done_again_from_there(house: UseCases) -> None:
    """The next attempt tells what had been told, and has the same answers."""
    job_id = await paused(house)
    job = house.pipeline.asked[0].job
    await house.pauses.answer(job_id, "send", True)
    dying = await house.log.begin(job_id, goes_on=True)
    dying.publish(Token("half", "ask"))
    await house.processing(house.pipeline)(job)
    records = (await house.log.read(job_id)).events
    second = [one.event for one in records if one.id.attempt == 2]
    assert second == [Reset("new_attempt"), QUEUED, *SAID, *REST, DONE]
    assert house.pipeline.asked[-1].resumption == Resumption(PAUSE, {"send": True})


async def test_a_run_that_dies_before_it_has_asked_asks_in_the_next_attempt(
    house: UseCases,
) -> None:
    """The pause is kept by then: what came before it is not done again."""
    job_id = await paused(house)
    job = house.pipeline.asked[0].job
    await house.log.begin(job_id, goes_on=True)  # as if nobody had paused
    process = house.processing(house.pipeline)
    kept = await house.pauses.last(job_id)
    assert kept is not None
    assert await process(job) == kept.expires_at
    second = [one.event for one in (await house.log.read(job_id)).events if one.id.attempt == 2]
    assert second[:-1] == [Reset("new_attempt"), QUEUED, *SAID]
    assert questions(second) == ["send"]
    assert len(house.pipeline.asked) == 1
    assert await process(job) == kept.expires_at  # left alone from now on
    assert (await house.log.read(job_id)).events[-1].event == second[-1]


async def test_what_cannot_be_asked_is_a_failure_of_the_graph() -> None:
    odd = Pause(Head("chat", "1"), (InputRequest("x", "\ud800", "text"),))
    async with use_cases(odd, DONE) as house:
        job_id = (await house.ask()).job_id
        assert (await house.read(job_id))[-1] == Failed.of(PipelineError(), "request")


async def test_what_it_was_asked_is_closed_when_it_ends_before_it_waits(
    house: UseCases, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise StreamLost

    monkeypatch.setattr(Pauses, "ask", away)
    job_id = (await house.ask()).job_id
    assert (await house.read(job_id))[-1] == Failed.of(StreamLost(), "request")
    kept = await house.pauses.last(job_id)
    assert kept is not None
    assert kept.closed
    with pytest.raises(Conflict):
        await house.answer("ann", job_id, "send", True)


@pytest.mark.parametrize("lost", [False, True])
async def test_a_bound_that_is_lowered_while_it_waits_is_its_end(
    house: UseCases, *, lost: bool
) -> None:
    job_id = await paused(house)
    await house.pauses.answer(job_id, "send", True)
    if lost:
        await house.log.begin(job_id, goes_on=True)
    await house.processing(house.pipeline, max_answer=3)(house.pipeline.asked[0].job)
    assert (await told(house, job_id))[-1] == Failed.of(AnswerTooLarge(), "request")
    assert len(house.pipeline.asked) == 1


async def test_its_chat_is_deleted_with_all_that_was_asked(house: UseCases) -> None:
    job_id = await paused(house, chat_id=(await house.a_chat()).id)
    await house.delete_chat("ann", "chat")
    assert await house.pauses.last(job_id) is None
    with pytest.raises(NotFound):
        await house.answer("ann", job_id, "send", True)


async def test_a_store_that_is_away_is_waited_for_when_a_job_goes_on(
    house: UseCases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pauses_module, "_RETRY_SECONDS", 0)
    job_id = await paused(house)
    last, outages = house.pauses.last, [Unavailable("away"), Unavailable("away")]

    async def sometimes(asked: JobId) -> Any:
        if outages:
            raise outages.pop()
        return await last(asked)

    monkeypatch.setattr(house.pauses, "last", sometimes)
    await house.answer("ann", job_id, "send", True)
    assert (await house.read(job_id))[-1] == DONE
    assert outages == []


async def test_unread_it_is_not_cancelled_while_it_waits_but_when_it_has_gone_on() -> None:
    gate = asyncio.Event()
    async with use_cases(*SAID, PAUSE, REST[0], gate, DONE) as house:
        job_id = await paused(house)
        readers = CancelUnread(house.queue, house.log, after=0.02)
        readers.submitted(job_id)
        readers.joined(job_id)
        readers.left(job_id)
        await asyncio.sleep(0.1)
        assert state(house, job_id) == "paused"
        await house.answer("ann", job_id, "send", True)
        assert (await house.read(job_id))[-1] == Cancelled("orphaned")


async def test_a_service_that_leaves_does_not_wait_for_it() -> None:
    async with use_cases(*PLAYS, bounds=ONE_AND_ONE) as house:
        job_id = await paused(house, chat_id=(await house.a_chat()).id)
        behind = await house.ask(chat_id="chat")
        async with asyncio.timeout(3):
            await house.queue.drain(grace=60)
        assert (await house.read(job_id))[-1] == Cancelled("shutdown")
        assert (await told(house, behind.job_id))[-1] == Cancelled("shutdown")


async def test_the_pipeline_is_asked_for_the_resumption_only(house: UseCases) -> None:
    job_id = await paused(house)
    assert isinstance(house.pipeline, MockPipeline)
    assert house.pipeline.asked[0].resumption is None
    await house.answer("ann", job_id, "send", True)
    await house.read(job_id)
    assert house.pipeline.closed == 2
