"""Taking a question: the path is decided once, one key is one job, nothing is half-accepted."""

import asyncio

import pytest

from sluice.application.submit import NewMessage, SubmitMessage
from sluice.application.unread import CancelUnread
from sluice.domain.chat import Job, JobId, Turn
from sluice.domain.errors import Conflict, LimitReached, NotFound, Unavailable
from sluice.domain.events import QUEUED, Cancelled, Done, Event, Token
from sluice.domain.rollout import Flag
from sluice.infrastructure.event_log.memory import MemoryEventLog
from tests.use_cases import ONE_AND_ONE, use_cases, waiting

pytestmark = pytest.mark.usefixtures("no_task_left")

DONE = Done("A2", "")


async def test_the_first_event_is_in_the_log_when_a_job_is_accepted() -> None:
    async with use_cases(waiting()) as house:
        accepted = await house.ask()
        log = await house.log.read(accepted.job_id)
        assert [(str(one.id), one.event) for one in log.events] == [("1-1", QUEUED)]


async def test_a_job_runs_and_its_answer_is_kept() -> None:
    async with use_cases(Token("a", "x"), Done("A2", "a")) as house:
        accepted = await house.ask("Why?")
        assert (await house.read(accepted.job_id))[1:] == [Token("a", "x"), Done("A2", "a")]
        assert await house.said(accepted.chat_id) == [
            ("user", "Why?", "completed"), ("assistant", "a", "completed"),
        ]  # fmt: skip


async def test_the_job_carries_what_was_asked() -> None:
    async with use_cases(waiting()) as house:
        accepted = await house.ask("Why?", model="m", metadata={"a": [1]})
        job = await house.log.job(accepted.job_id)
        assert (job.message, job.model, job.metadata) == ("Why?", "m", {"a": [1]})
        assert (job.user, job.chat_id, job.path) == ("ann", accepted.chat_id, accepted.path)
        assert job.request_id == "request"


async def test_a_job_with_a_history_of_its_own_is_in_no_chat() -> None:
    before = (Turn("system", "Be brief."), Turn("user", "One?"))
    async with use_cases(Token("a", "x"), Done("A2", "a")) as house:
        accepted = await house.ask("Why?", history=before)
        assert (await house.read(accepted.job_id))[-1] == Done("A2", "a")
        assert house.pipeline.asked[0].history == list(before)
        assert await house.chats.chats("ann", limit=9, before=None) == []
        with pytest.raises(NotFound):
            await house.chats.messages("ann", accepted.chat_id)


async def test_a_keys_question_is_its_history_too() -> None:
    before = (Turn("user", "One?"),)
    async with use_cases(waiting()) as house:
        first = await house.ask(history=before, idempotency_key="k")
        assert await house.ask(history=before, idempotency_key="k") == first
        with pytest.raises(Conflict):
            await house.ask("Who?", history=before, idempotency_key="k")
        for other in ((), (Turn("assistant", "One?"),), None):
            with pytest.raises(Conflict):
                await house.ask(history=other, idempotency_key="k")


async def test_the_path_is_drawn_once_per_job_by_the_user() -> None:
    async with use_cases(waiting()) as house:
        accepted = await house.ask(sticky="ann")
        assert (accepted.path, house.flag.keys) == ("A2", ["ann"])


async def test_without_a_user_the_path_is_drawn_by_the_chat() -> None:
    async with use_cases(waiting()) as house:
        first = await house.ask()
        await house.ask(chat_id=first.chat_id)
        assert house.flag.keys == [first.chat_id, first.chat_id]


@pytest.mark.parametrize(("sticky", "by_chat"), [("ann", False), (None, True)])
async def test_a_job_keeps_the_share_that_drew_its_path_and_by_what(
    sticky: str | None, *, by_chat: bool
) -> None:
    async with use_cases(waiting()) as house:
        accepted = await house.ask(sticky=sticky, idempotency_key="key")
        job = await house.log.job(accepted.job_id)
        assert job.flag == Flag(50, "split", "env", by_chat=by_chat)


async def test_a_request_may_choose_its_path() -> None:
    async with use_cases(waiting()) as house:
        accepted = await house.ask(path="A1")
        job = await house.log.job(accepted.job_id)
        assert (accepted.path, job.path) == ("A1", "A1")
        assert job.flag == Flag(50, "header", "env", by_chat=True)


async def test_a_question_has_its_clients_own_id() -> None:
    async with use_cases(waiting()) as house:
        accepted = await house.ask(message_id="own")
        (message,) = await house.chats.messages("ann", accepted.chat_id)
        assert message.id == "own"


class LogOfFile(MemoryEventLog):
    """Notes what a log in a file is told: which jobs begin with their log, and are settled."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[JobId, bool | None]] = []

    async def create(self, job: Job, first: Event, *, begins: bool = False) -> None:
        self.told.append((job.id, begins))
        await super().create(job, first, begins=begins)

    async def settle(self, job_id: JobId) -> None:
        self.told.append((job_id, None))


@pytest.mark.parametrize("history", [None, ()])
async def test_a_log_is_told_whether_its_job_begins_at_once_and_is_settled(
    history: tuple[Turn, ...] | None,
) -> None:
    log = LogOfFile()
    async with use_cases(waiting(), log=log, bounds=ONE_AND_ONE) as house:
        runs, waits = [(await house.ask(history=history)).job_id for _ in range(2)]
        assert log.told == [(runs, True), (runs, None), (waits, False), (waits, None)]


async def test_a_new_chat_is_named_after_its_first_question_in_one_line() -> None:
    async with use_cases(waiting()) as house:
        accepted = await house.ask("Why \n\t not? " + "x" * 100)
        chat = await house.chats.chat("ann", accepted.chat_id)
        assert chat.title == "Why not? " + "x" * 71


async def test_a_chat_that_is_not_there_or_anothers_takes_no_question() -> None:
    async with use_cases(DONE) as house:
        await house.a_chat("bobs", user="bob")
        for chat_id in ("nobodys", "bobs"):
            with pytest.raises(NotFound):
                await house.ask(chat_id=chat_id)
        assert await house.unfinished() == []
        assert await house.said("bobs", user="bob") == []


async def test_a_session_makes_its_chat_at_the_first_question_and_keeps_it() -> None:
    async with use_cases(DONE) as house:
        for question in ("one", "two"):
            accepted = await house.ask(question, session="s")
            await house.read(accepted.job_id)
        said = await house.said(accepted.chat_id)
        assert [content for _, content, _ in said] == ["one", "two"]
        assert (await house.chats.chat("ann", accepted.chat_id)).title == "one"
        assert house.flag.keys == [accepted.chat_id] * 2


async def test_a_retry_asks_the_same_question_and_does_not_double_it() -> None:
    async with use_cases(Token("a", "x"), Done("A2", "a")) as house:
        first = await house.ask("Why?", model="m", metadata={"a": 1})
        await house.read(first.job_id)
        again = await house.ask(message=None, chat_id=first.chat_id, retry_of=first.job_id)
        await house.read(again.job_id)
        job = await house.log.job(again.job_id)
        assert again.job_id != first.job_id
        assert (job.message, job.model, job.metadata) == ("Why?", "m", {"a": 1})
        roles = [role for role, _, _ in await house.said(first.chat_id)]
        assert roles == ["user", "assistant", "assistant"]


async def test_a_retry_of_another_chats_or_another_users_job_is_not_found() -> None:
    async with use_cases(DONE) as house:
        mine, other = await house.ask(), await house.ask()
        bobs = await house.ask(user="bob")
        for job_id in (other.job_id, bobs.job_id, "nobodys"):
            with pytest.raises(NotFound, match=job_id):
                await house.ask(message=None, chat_id=mine.chat_id, retry_of=job_id)


async def test_without_a_key_equal_questions_are_two_jobs() -> None:
    async with use_cases(waiting()) as house:
        assert (await house.ask()).job_id != (await house.ask()).job_id


async def test_a_question_refused_for_want_of_room_leaves_nothing_behind() -> None:
    async with use_cases(waiting(), bounds=ONE_AND_ONE) as house:
        for _ in range(2):
            await house.ask()
        before = await house.unfinished()
        chats = await house.chats.chats("ann", limit=9, before=None)
        with pytest.raises(LimitReached):
            await house.ask(session="s", idempotency_key="key")
        assert await house.unfinished() == before
        assert await house.chats.chats("ann", limit=9, before=None) == chats


async def test_a_leaving_service_takes_nothing() -> None:
    async with use_cases(DONE) as house:
        await house.queue.drain(grace=0)
        with pytest.raises(Unavailable):
            await house.ask()
        assert await house.unfinished() == []


async def test_a_job_cancelled_while_it_waits_has_its_question_and_its_end() -> None:
    async with use_cases(waiting(), bounds=ONE_AND_ONE) as house:
        await house.ask()
        queued = await house.ask()
        await house.cancel("ann", queued.job_id)
        assert await house.read(queued.job_id) == [QUEUED, Cancelled("user")]
        assert await house.said(queued.chat_id) == [("user", "Why?", "completed")]


async def test_a_job_that_nobody_comes_to_read_is_cancelled_where_somebody_must() -> None:
    async with use_cases(Token("a", "x"), waiting()) as house:
        readers = CancelUnread(house.queue, house.log, after=0)
        submit = SubmitMessage(
            house.chats, house.sessions, house.keys, house.log, house.queue, house.flag, readers
        )
        accepted = await submit(NewMessage("ann", "request", message="Why?"))
        async with asyncio.timeout(5):
            assert (await house.read(accepted.job_id))[-1] == Cancelled("orphaned")
