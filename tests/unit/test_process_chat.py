"""The use case: the only writer, exactly one terminal event, whatever happens."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from sluice.application import history as history_module
from sluice.application import keep_end
from sluice.application.chat_ports import ChatPort
from sluice.application.history import history
from sluice.application.metrics import JobMetrics
from sluice.application.outcomes import OutcomesPort
from sluice.application.pause_port import PausePort
from sluice.application.pauses import Pauses
from sluice.application.ports import Tell
from sluice.application.process_chat import ProcessChat
from sluice.domain.chat import Chat, Message, Question, Turn, now
from sluice.domain.errors import (
    Declined,
    PipelineError,
    StateLost,
    Superseded,
    Unavailable,
    UpstreamTruncated,
    WorkerLost,
)
from sluice.domain.events import (
    QUEUED,
    TERMINAL,
    Cancelled,
    CancelReason,
    Done,
    Event,
    Failed,
    Reset,
    StageCompleted,
    StageFailed,
    StageStarted,
    Token,
)
from sluice.domain.graph_state import Outcome
from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.chats.sqlite.pauses import SqlitePauses
from sluice.infrastructure.event_log.memory import MemoryEventLog
from sluice.infrastructure.outcomes.sqlite import SqliteOutcomes
from sluice.infrastructure.sqlite.database import SqliteDatabase
from tests.doubles import MockPipeline, a_job

DONE = Done("A2", "ab")
STARTED, COMPLETED = StageStarted("answer", 0), StageCompleted("answer", 100)


class Bench:
    """A job in a memory log, and what its processing left behind."""

    def __init__(self, chats: ChatPort, outcomes: OutcomesPort, pauses: PausePort) -> None:
        self.log = MemoryEventLog()
        self.chats, self.outcomes = chats, outcomes
        self.pauses = Pauses(pauses, self.log, timeout=60)
        self.job = a_job()

    async def opened(self) -> None:
        await self.chats.open(Chat(self.job.chat_id, self.job.user, None, now()))
        await self.chats.add_question(self.job)
        await self.log.create(self.job, QUEUED)

    def process(self, *plays: Any, **options: Any) -> Callable[..., Any]:
        pipeline = MockPipeline(*plays)
        return ProcessChat(pipeline, self.log, self.chats, JobMetrics(), self.pauses, **options)

    async def told(self) -> list[Event]:
        """Everything behind `queued`; exactly one terminal event, and it is the last."""
        log = await self.log.read(self.job.id)
        events = [recorded.event for recorded in log.events][1:]
        assert [isinstance(event, TERMINAL) for event in events].count(True) == 1
        assert isinstance(events[-1], TERMINAL)
        return events

    async def kept(self) -> list[tuple[str, str, str]]:
        messages = await self.chats.messages(self.job.user, self.job.chat_id)
        return [(m.role, m.content, m.status) for m in messages]


@pytest.fixture
async def bench(no_generator_left: None) -> AsyncIterator[Bench]:
    database = SqliteDatabase(":memory:")
    await database.open()
    bench = Bench(SqliteChats(database), SqliteOutcomes(database), SqlitePauses(database))
    await bench.opened()
    yield bench
    await database.aclose()


def failed(error: type[Any]) -> Failed:
    return Failed(error.code, error.public, error.retryable, "request")


async def test_what_the_pipeline_says_is_told_and_its_answer_kept(bench: Bench) -> None:
    await bench.process(STARTED, Token("a", "x"), Token("b", "x"), COMPLETED, DONE)(bench.job)
    assert await bench.told() == [STARTED, Token("a", "x"), Token("b", "x"), COMPLETED, DONE]
    assert await bench.kept() == [("user", "Why?", "completed"), ("assistant", "ab", "completed")]


async def test_a_chat_that_cannot_be_read_for_a_while_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_module, "_RETRY_SECONDS", 0)
    messages, outages = bench.chats.messages, [Unavailable("away"), Unavailable("away")]

    async def sometimes(user: str, chat_id: str) -> Any:
        if outages:
            raise outages.pop()
        return await messages(user, chat_id)

    monkeypatch.setattr(bench.chats, "messages", sometimes)
    await bench.process(DONE)(bench.job)
    assert await bench.told() == [DONE]
    assert outages == []


async def test_an_end_is_logged_by_its_request_without_its_text(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await bench.process(Token("secret", "x"), Done("A2", "secret"))(bench.job)
    assert f"job {bench.job.id} is completed, A2, request request" in caplog.text
    assert "secret" not in caplog.text


async def test_a_crash_ends_the_answer_without_telling_why(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.process(STARTED, Token("a", "x"), RuntimeError("secret"))(bench.job)
    end = (await bench.told())[-1]
    assert isinstance(end, Failed)
    assert (end.code, end.request_id) == ("internal", "request")
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


async def test_an_error_fails_the_open_stages_and_keeps_the_partial_text(bench: Bench) -> None:
    await bench.process(STARTED, Token("a", "x"), UpstreamTruncated("secret"))(bench.job)
    assert await bench.told() == [
        STARTED, Token("a", "x"), StageFailed("answer", 0), failed(UpstreamTruncated),
    ]  # fmt: skip
    assert (await bench.kept())[-1] == ("assistant", "a", "failed")


async def test_a_pipeline_that_just_stops_is_an_error(bench: Bench) -> None:
    await bench.process(STARTED)(bench.job)
    end = (await bench.told())[-1]
    assert isinstance(end, Failed)
    assert end.code == "pipeline_error"


async def test_a_run_that_outlives_its_deadline_ends(bench: Bench) -> None:
    await bench.process(asyncio.Event(), deadline=0.01)(bench.job)
    end = (await bench.told())[-1]
    assert isinstance(end, Failed)
    assert end.code == "deadline_exceeded"


@pytest.mark.parametrize("reason", ["user", "orphaned", "shutdown"])
async def test_a_cancelled_run_tells_its_reason_and_fails_no_stage(
    bench: Bench, reason: CancelReason
) -> None:
    why: list[CancelReason] = []
    process = bench.process(STARTED, Token("a", "x"), asyncio.Event())
    task = asyncio.create_task(process(bench.job, lambda: why[0] if why else None))
    await reads(bench, 3)
    why.append(reason)
    task.cancel()
    await asyncio.wait([task])
    assert await bench.told() == [STARTED, Token("a", "x"), Cancelled(reason)]
    assert (await bench.kept())[-1] == ("assistant", "a", "cancelled")


async def test_a_run_cancelled_before_it_begins_asks_no_model(bench: Bench) -> None:
    await bench.process(DONE)(bench.job, lambda: "user")
    assert await bench.told() == [Cancelled("user")]


async def test_a_run_handed_back_writes_nothing_and_the_next_attempt_resets(bench: Bench) -> None:
    task = asyncio.create_task(bench.process(Token("a", "x"), asyncio.Event())(bench.job))
    await reads(bench, 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await bench.process(Token("b", "x"), Done("A2", "b"))(bench.job)
    assert await bench.told() == [
        Token("a", "x"), Reset("new_attempt"), QUEUED, Token("b", "x"), Done("A2", "b"),
    ]  # fmt: skip
    ids = [str(recorded.id) for recorded in (await bench.log.read(bench.job.id)).events]
    assert ids == ["1-1", "1-2", "2-1", "2-2", "2-3", "2-4"]


async def test_a_cancel_while_the_attempt_begins_still_ends_the_job(bench: Bench) -> None:
    beginning, go_on = asyncio.Event(), asyncio.Event()
    begin = bench.log.begin

    async def slow(job_id: str, **how: Any) -> Any:
        beginning.set()
        await go_on.wait()
        return await begin(job_id, **how)

    bench.log.begin = slow  # type: ignore[method-assign]
    process = bench.process(DONE)
    task = asyncio.create_task(process(bench.job, lambda: "user" if beginning.is_set() else None))
    await beginning.wait()
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait([task])
    assert await bench.told() == [Cancelled("user")]


async def test_a_run_handed_back_while_its_attempt_cannot_begin_asks_no_more(bench: Bench) -> None:
    beginning = asyncio.Event()

    async def never(job_id: str, **how: Any) -> Any:
        beginning.set()
        await asyncio.Event().wait()

    begin, bench.log.begin = bench.log.begin, never  # type: ignore[method-assign]
    task = asyncio.create_task(bench.process(DONE)(bench.job))
    await beginning.wait()
    task.cancel()
    async with asyncio.timeout(1):
        await asyncio.wait([task])
    assert task.cancelled()
    bench.log.begin = begin  # type: ignore[method-assign]
    await bench.process(DONE)(bench.job, after=0)
    assert await bench.told() == [DONE]


async def test_a_cancelled_run_closes_its_pipeline(bench: Bench) -> None:
    pipeline = MockPipeline(STARTED, asyncio.Event())
    process = ProcessChat(pipeline, bench.log, bench.chats, JobMetrics(), bench.pauses)
    task = asyncio.create_task(process(bench.job))
    await reads(bench, 2)
    task.cancel()
    await asyncio.wait([task])
    assert pipeline.closed == 1


async def test_an_error_while_telling_closes_the_pipeline(bench: Bench) -> None:
    """The log refuses in the middle: the generator stands at a yield, and must not stay there."""
    pipeline = MockPipeline(STARTED, Token("a", "x"), Token("b", "x"), DONE)
    process = ProcessChat(
        pipeline, bench.log, bench.chats, JobMetrics(), bench.pauses, max_answer=1
    )
    await process(bench.job)
    assert pipeline.closed == 1


async def test_a_third_attempt_is_a_lost_worker(bench: Bench) -> None:
    await bench.log.begin(bench.job.id)
    await bench.log.begin(bench.job.id)
    await bench.process(DONE)(bench.job)
    assert await bench.told() == [Reset("new_attempt"), QUEUED, failed(WorkerLost)]


@pytest.mark.parametrize(("returns", "end"), [(1, DONE), (2, DONE), (0, failed(WorkerLost))])
async def test_attempts_that_were_handed_back_do_not_count(
    bench: Bench, returns: int, end: Event
) -> None:
    for _ in range(2):
        await bench.log.begin(bench.job.id)
    await bench.process(DONE)(bench.job, lambda: None, 2, returns)
    assert (await bench.told())[-1] == end


async def test_an_attempt_that_is_cancelled_before_it_says_anything_begins_with_its_reset(
    bench: Bench,
) -> None:
    await bench.log.begin(bench.job.id)
    await bench.process(DONE)(bench.job, lambda: "user")
    assert await bench.told() == [Reset("new_attempt"), QUEUED, Cancelled("user")]


async def test_a_cancel_at_the_moment_of_finishing_leaves_one_end(bench: Bench) -> None:
    """The end is being written when the cancel comes: it is shielded, and it stands."""
    writing, go_on = asyncio.Event(), asyncio.Event()
    answered = bench.chats.keep_answer

    async def slow(*given: Any) -> None:
        writing.set()
        await go_on.wait()
        await answered(*given)

    bench.chats.keep_answer = slow  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(
        bench.process(DONE)(bench.job, lambda: "user" if writing.is_set() else None)
    )
    await writing.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    go_on.set()
    await asyncio.wait([task])
    assert await bench.told() == [DONE]


async def test_a_writer_that_wakes_up_between_answer_and_end_changes_nothing(
    bench: Bench,
) -> None:
    """Frozen when it had everything to say but had not begun to: the next attempt has ended."""
    writing, go_on = asyncio.Event(), asyncio.Event()
    answered = bench.chats.keep_answer

    async def frozen(*given: Any) -> None:
        writing.set()
        await go_on.wait()
        await answered(*given)

    bench.chats.keep_answer = frozen  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(bench.process(DONE)(bench.job))
    await writing.wait()
    bench.chats.keep_answer = answered  # type: ignore[method-assign]
    await bench.process(Done("A2", "b"))(bench.job)
    go_on.set()
    with pytest.raises(Superseded):
        await task
    assert (await bench.told())[-1] == Done("A2", "b")
    assert (await bench.kept())[1:] == [("assistant", "b", "completed")]


async def test_an_attempt_that_says_nothing_leaves_no_answer_of_an_earlier_one(
    bench: Bench,
) -> None:
    """The first kept its answer and was killed before it could tell its end."""
    first = await bench.log.begin(bench.job.id)
    await bench.chats.keep_answer(bench.job, "ab", "completed", first.attempt)
    await bench.process(DONE)(bench.job, lambda: "user")
    assert (await bench.told())[-1] == Cancelled("user")
    assert await bench.kept() == [("user", "Why?", "completed")]


async def test_an_end_without_a_text_does_not_wait_for_a_chat_that_is_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep_end, "_OUTCOME_TIMEOUT_SECONDS", 0.01)

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(bench.chats, "keep_answer", never)
    await bench.process(STARTED)(bench.job)
    assert isinstance((await bench.told())[-1], Failed)


async def test_a_job_that_was_given_up_leaves_its_key_to_another_one(bench: Bench) -> None:
    await bench.process(DONE)(bench.job, lambda: "shutdown")
    assert await bench.told() == [Cancelled("shutdown")]
    assert not await bench.chats.has_ended(bench.job.id)


async def test_an_end_without_a_text_is_known_as_one_when_its_log_is_gone(bench: Bench) -> None:
    assert not await bench.chats.has_ended(bench.job.id)
    await bench.process(STARTED)(bench.job)
    assert isinstance((await bench.told())[-1], Failed)
    assert await bench.chats.has_ended(bench.job.id)
    assert await bench.kept() == [("user", "Why?", "completed")]


async def test_a_stray_cancellation_inside_the_pipeline_is_its_error(bench: Bench) -> None:
    await bench.process(asyncio.CancelledError())(bench.job)
    end = (await bench.told())[-1]
    assert isinstance(end, Failed)
    assert end.code == "pipeline_error"


async def test_a_writer_that_was_superseded_says_so_and_writes_no_more(bench: Bench) -> None:
    gate = asyncio.Event()
    task = asyncio.create_task(bench.process(STARTED, gate, DONE)(bench.job))
    await reads(bench, 2)
    later = await bench.log.begin(bench.job.id)
    gate.set()
    with pytest.raises(Superseded):
        await task
    await later.end(Cancelled("user"))
    assert await bench.told() == [STARTED, Cancelled("user")]


async def test_an_attempt_that_another_one_has_come_before_says_nothing(bench: Bench) -> None:
    await bench.log.begin(bench.job.id)
    with pytest.raises(Superseded):
        await bench.process(DONE)(bench.job, after=0)
    assert len((await bench.log.read(bench.job.id)).events) == 1


async def test_an_answer_too_large_is_an_error(bench: Bench) -> None:
    await bench.process(Token("가" * 4, "x"), DONE, max_answer=10)(bench.job)
    end = (await bench.told())[-1]
    assert isinstance(end, Failed)
    assert end.code == "answer_too_large"


async def test_a_huge_token_is_split_and_nothing_of_it_lost(bench: Bench) -> None:
    text = "가나다" * 20_000
    await bench.process(Token(text, "x"), Done("A2", text))(bench.job)
    pieces = [event.content for event in await bench.told() if isinstance(event, Token)]
    assert "".join(pieces) == text
    assert max(len(piece.encode()) for piece in pieces) <= 64 * 1024


async def test_a_lone_surrogate_is_an_error_of_the_pipeline(bench: Bench) -> None:
    await bench.process(Token("\ud800", "x"), DONE)(bench.job)
    end = (await bench.told())[-1]
    assert isinstance(end, Failed)
    assert end.code == "pipeline_error"


@pytest.mark.parametrize(
    "play",
    [
        Done("A2", "ab", intent="\ud800"),
        Done("A2", "ab", finish_reason="\ud800"),
        StageStarted("\ud800", 0),
        StageStarted("answer", 0, "\ud800"),
    ],
    ids=["intent", "finish reason", "stage", "message"],
)
async def test_what_cannot_be_told_still_ends_in_an_error(bench: Bench, play: Event) -> None:
    await bench.process(play, DONE)(bench.job)
    (end,) = await bench.told()
    assert isinstance(end, Failed)


async def test_progress_never_falls(bench: Bench) -> None:
    await bench.process(StageStarted("a", 50), StageStarted("b", 10), DONE)(bench.job)
    assert (await bench.told())[:2] == [StageStarted("a", 50), StageStarted("b", 50)]


def test_the_history_is_what_came_before_and_one_answer_each() -> None:
    def message(role: Any, content: str, job_id: str) -> Message:
        return Message(content, role, content, job_id, "completed", now())

    messages = [
        message("user", "q1", "1"),
        message("assistant", "cut off", "1"),
        message("assistant", "again", "2"),
        message("user", "q2", "3"),
        message("assistant", "a2", "3"),
        message("user", "q3", "4"),
    ]
    before = [Turn("user", "q1"), Turn("assistant", "again")]
    assert history(messages, a_job(id="3")) == before
    assert history(messages, a_job(id="9", retry_of="3")) == before


@pytest.mark.parametrize("nothing", ["", " \n"])
def test_an_answer_that_was_stopped_before_its_first_word_is_no_turn(nothing: str) -> None:
    """Two questions then stand in a row. An earlier answer to the same question stays."""

    def message(role: Any, content: str, job_id: str) -> Message:
        return Message(content, role, content, job_id, "cancelled", now())

    messages = [
        message("user", "q1", "1"),
        message("assistant", nothing, "1"),
        message("user", "q2", "2"),
        message("assistant", "a2", "2"),
        message("assistant", nothing, "3"),
        message("user", "q3", "4"),
    ]
    before = [Turn("user", "q1"), Turn("user", "q2"), Turn("assistant", "a2")]
    assert history(messages, a_job(id="4")) == before


async def test_a_job_that_brings_its_history_is_asked_with_that(bench: Bench) -> None:
    turns, pipeline = [Turn("user", "q1"), Turn("assistant", "a1")], MockPipeline(DONE)
    job = a_job(history=tuple(turns))
    await bench.log.create(job, QUEUED)
    await ProcessChat(pipeline, bench.log, bench.chats, JobMetrics(), bench.pauses)(job)
    assert [asked.history for asked in pipeline.asked] == [turns]


async def test_how_jobs_ended_is_counted_and_the_pipeline_asked_each(bench: Bench) -> None:
    metrics, pipeline = JobMetrics(), MockPipeline(UpstreamTruncated("secret"))
    process = ProcessChat(pipeline, bench.log, bench.chats, metrics, bench.pauses)
    other = a_job()
    await bench.chats.add_question(other)
    await bench.log.create(other, QUEUED)
    for job in (bench.job, other):
        await process(job)
    assert metrics.ended == {("A2", "failed"): 2}
    assert metrics.errors == {"upstream_truncated": 2}
    assert [asked.job for asked in pipeline.asked] == [bench.job, other]


@pytest.mark.parametrize(
    ("play", "level", "cause"),
    [
        (RuntimeError("secret"), "ERROR", "RuntimeError"),
        (UpstreamTruncated("cut off"), "WARNING", "UpstreamTruncated"),
        (asyncio.CancelledError("secret"), "WARNING", "CancelledError"),
        (asyncio.Event, "WARNING", "TimeoutError"),
    ],
)
async def test_a_failure_is_logged_with_its_cause_and_as_an_error_if_it_is_ours(
    bench: Bench, caplog: pytest.LogCaptureFixture, play: Any, level: str, cause: str
) -> None:
    waits = play is asyncio.Event
    await bench.process(play() if waits else play, deadline=0.01 if waits else 60)(bench.job)
    (record,) = [one for one in caplog.records if "failed" in one.getMessage()]
    assert record.levelname == level
    assert cause in record.getMessage()
    assert "secret" not in caplog.text


async def test_a_cancelled_job_is_logged_with_its_reason(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await bench.process(DONE)(bench.job, lambda: "user")
    assert f"job {bench.job.id} is cancelled: user, A2, request request" in caplog.text


@pytest.mark.parametrize("attempts", [1, 2])
async def test_only_an_end_with_nothing_to_take_back_does_without_a_chat_that_fails(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, attempts: int
) -> None:
    async def fails(*_: object) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(bench.chats, "keep_answer", fails)
    if attempts == 1:
        await bench.process(STARTED)(bench.job)
        assert isinstance((await bench.told())[-1], Failed)
        return
    await bench.log.begin(bench.job.id)
    with pytest.raises(Unavailable):
        await bench.process(STARTED)(bench.job)


async def reads(bench: Bench, count: int) -> None:
    """Until the job's log holds that many events."""
    async with asyncio.timeout(5):
        seen = 0
        async with aclosing(await bench.log.follow(bench.job.id, after=None)) as batches:
            async for batch in batches:
                seen += len(batch)
                if seen >= count:
                    return


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
