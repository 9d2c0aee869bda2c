"""What the chat keeps of an end that comes late, says nothing, or cannot be kept."""

import asyncio
from typing import Any

import pytest

from sluice.application import keep_end
from sluice.domain.errors import (
    Superseded,
    Unavailable,
)
from sluice.domain.events import (
    Cancelled,
    Done,
    Failed,
)
from tests.unit.process_chat.bench import DONE, STARTED, Bench


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
