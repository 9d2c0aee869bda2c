"""A chat as its user sees it, and a deletion that leaves nothing behind and nothing hanging."""

import asyncio
from typing import Any

import pytest

from sluice.domain.chat import Chat, Job, new_id
from sluice.domain.errors import NotFound, Superseded, Unavailable
from sluice.domain.events import QUEUED, Cancelled, Done, StageStarted, Token
from tests.doubles import a_job
from tests.use_cases import ONE_AND_ONE, UseCases, use_cases, waiting

pytestmark = pytest.mark.usefixtures("no_task_left")

STARTED = StageStarted("answer", 10)
ANSWER = Token("a", "answer"), Done("A2", "a")


async def running(house: UseCases) -> tuple[str, str]:
    """A job that has said something, with its chat."""
    accepted = await house.ask()
    stream = await house.follow("ann", accepted.job_id, after=None)
    async for batch in stream:
        if any(isinstance(one.event, Token) for one in batch.events):
            break
    await stream.aclose()
    return accepted.job_id, accepted.chat_id


async def test_a_chat_shows_its_messages_and_no_job_when_none_runs() -> None:
    async with use_cases(*ANSWER) as house:
        accepted = await house.ask()
        await house.read(accepted.job_id)
        seen = await house.show_chat("ann", accepted.chat_id)
        assert (seen.chat.id, seen.active_job_id) == (accepted.chat_id, None)
        assert [(one.role, one.content) for one in seen.messages] == [
            ("user", "Why?"), ("assistant", "a"),
        ]  # fmt: skip


async def test_a_chat_shows_the_oldest_of_its_jobs_that_is_not_over() -> None:
    async with use_cases(waiting()) as house:
        await house.ask()
        first = await house.ask()
        second = await house.ask(chat_id=first.chat_id)
        await house.ask()
        assert (await house.show_chat("ann", first.chat_id)).active_job_id == first.job_id
        await house.cancel("ann", first.job_id)
        await house.read(first.job_id)
        assert (await house.show_chat("ann", first.chat_id)).active_job_id == second.job_id


async def test_an_empty_chat_is_shown_empty() -> None:
    async with use_cases() as house:
        chat = await house.a_chat()
        seen = await house.show_chat("ann", chat.id)
        assert (seen.chat, seen.active_job_id, list(seen.messages)) == (chat, None, [])


async def test_anothers_chat_is_neither_shown_nor_deleted() -> None:
    async with use_cases(waiting()) as house:
        accepted = await house.ask()
        for user, chat_id in (("bob", accepted.chat_id), ("ann", "nobodys")):
            with pytest.raises(NotFound):
                await house.show_chat(user, chat_id)
            with pytest.raises(NotFound):
                await house.delete_chat(user, chat_id)
        assert await house.unfinished() == [accepted.job_id]
        assert await house.said(accepted.chat_id) == [("user", "Why?", "completed")]


async def test_a_deleted_chat_is_gone_with_its_jobs_and_their_logs() -> None:
    async with use_cases(*ANSWER) as house:
        accepted = await house.ask()
        await house.read(accepted.job_id)
        await house.delete_chat("ann", accepted.chat_id)
        with pytest.raises(NotFound):
            await house.show_chat("ann", accepted.chat_id)
        with pytest.raises(NotFound):
            await house.show_job("ann", accepted.job_id)


async def test_readers_of_a_deleted_chat_are_told_that_its_job_was_cancelled() -> None:
    async with use_cases(STARTED, Token("a", "answer"), asyncio.Event()) as house:
        job_id, chat_id = await running(house)
        reading = asyncio.create_task(house.read(job_id))
        await asyncio.sleep(0)
        await house.delete_chat("ann", chat_id)
        assert (await reading)[-1] == Cancelled("user")
        assert (house.queue.running, house.queue.queued) == (0, 0)
        assert house.pipeline.closed == len(house.pipeline.asked) == 1


async def test_a_deletion_waits_for_the_end_of_a_job_that_another_process_runs() -> None:
    async with use_cases() as house:
        job = await house.a_log(STARTED)
        elsewhere = await house.log.begin(job.id)
        follow, following = house.log.follow, asyncio.Event()

        async def followed(*given: Any, **named: Any) -> Any:
            following.set()
            return await follow(*given, **named)

        house.log.follow = followed  # type: ignore[method-assign]
        reading = asyncio.create_task(house.read(job.id))
        deleting = asyncio.create_task(house.delete_chat("ann", job.chat_id))
        async with asyncio.timeout(5):
            await following.wait()
            for _ in range(20):
                await asyncio.sleep(0)
            await elsewhere.end(Cancelled("user"))
            assert (await reading)[-1] == Cancelled("user")
            await deleting


async def test_when_a_chat_is_forgotten_nobody_can_write_of_it_and_nothing_new_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that hangs wakes up, and a question comes, while the texts are being deleted."""
    monkeypatch.setattr("sluice.application.chats._END_TIMEOUT_SECONDS", 0.01)
    async with use_cases() as house:
        job = await house.a_log(STARTED)
        hanging, later = await house.log.begin(job.id), a_job()
        delete = house.chats.delete

        async def meanwhile(user: str, chat_id: str) -> None:
            with pytest.raises(Superseded):
                hanging.publish(Token("a", "answer"))
            await house.log.create(later, QUEUED)
            await delete(user, chat_id)

        house.chats.delete = meanwhile  # type: ignore[method-assign]
        await house.delete_chat("ann", job.chat_id)
        for gone in (job, later):
            with pytest.raises(NotFound):
                await house.log.job(gone.id)


async def test_waiting_jobs_of_a_deleted_chat_never_run() -> None:
    async with use_cases(waiting(), bounds=ONE_AND_ONE) as house:
        first = await house.ask()
        second = await house.ask(chat_id=first.chat_id)
        await house.delete_chat("ann", first.chat_id)
        assert len(house.pipeline.asked) <= 1
        assert await house.unfinished() == []
        with pytest.raises(NotFound):
            await house.show_job("ann", second.job_id)


async def test_a_chat_whose_job_does_not_end_is_deleted_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A job that no process runs, or whose worker hangs."""
    monkeypatch.setattr("sluice.application.chats._END_TIMEOUT_SECONDS", 0.01)
    async with use_cases() as house:
        job = await house.a_log(STARTED)
        await house.delete_chat("ann", job.chat_id)
        with pytest.raises(NotFound):
            await house.log.job(job.id)


async def test_deleting_one_chat_leaves_the_others_alone() -> None:
    async with use_cases(waiting()) as house:
        kept, deleted = await house.ask(), await house.ask()
        await house.delete_chat("ann", deleted.chat_id)
        assert await house.unfinished() == [kept.job_id]
        assert await house.said(kept.chat_id) == [("user", "Why?", "completed")]


async def test_a_question_whose_chat_is_deleted_while_it_is_taken_leaves_nothing() -> None:
    async with use_cases(*ANSWER) as house:
        chat = await house.a_chat()
        asked = house.chats.add_question

        async def asked_and_deleted(
            job: Job, message_id: str | None = None, opens: Chat | None = None
        ) -> None:
            await asked(job, message_id, opens)
            await house.delete_chat("ann", chat.id)

        house.chats.add_question = asked_and_deleted  # type: ignore[method-assign]
        with pytest.raises(NotFound):
            await house.ask(chat_id=chat.id)
        assert await house.unfinished() == []
        assert house.pipeline.asked == []


async def test_a_question_is_taken_if_its_chat_cannot_be_looked_at_again() -> None:
    async with use_cases(*ANSWER) as house:
        await house.a_chat()
        chat, looks = house.chats.chat, 0

        async def once(user: str, chat_id: str) -> Chat:
            nonlocal looks
            looks += 1
            if looks > 1:
                raise Unavailable
            return await chat(user, chat_id)

        house.chats.chat = once  # type: ignore[method-assign]
        accepted = await house.ask(chat_id="chat")
        assert (await house.read(accepted.job_id))[-1] == ANSWER[-1]


async def test_a_job_that_finds_its_chat_deleted_ends() -> None:
    """Its question came while the chat was being deleted: no reader may wait for ever."""
    async with use_cases(*ANSWER) as house:
        job = await house.a_log(job=a_job())
        await house.chats.delete("ann", job.chat_id)
        house.queue.take_up([job])
        async with asyncio.timeout(5):
            assert (await house.read(job.id))[-1] == Cancelled("user")
        assert house.pipeline.asked == []


async def test_an_id_is_no_option_at_a_command_line() -> None:
    ids = {new_id() for _ in range(2000)}
    assert len(ids) == 2000
    assert not any(each.startswith("-") for each in ids)
