"""A run that is cancelled at any moment: its job ends with the reason, or is handed back."""

import asyncio
from typing import Any

import pytest

from sluice.application.metrics import JobMetrics
from sluice.application.process_chat import ProcessChat
from sluice.domain.errors import (
    NotFound,
)
from sluice.domain.events import (
    QUEUED,
    Cancelled,
    CancelReason,
    Done,
    Reset,
    Token,
)
from tests.doubles import MockPipeline
from tests.unit.process_chat.bench import DONE, STARTED, Bench, reads


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


async def test_a_job_whose_chat_is_deleted_meanwhile_ends_as_its_users_cancel(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*_: object) -> None:
        raise NotFound

    monkeypatch.setattr(bench.chats, "messages", gone)
    await bench.process(DONE)(bench.job)
    assert await bench.told() == [Cancelled("user")]
