"""What every store of heads promises: where a chat's graph stands, and where a job begins."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sluice.application.chat_ports import ChatPort, HeadPort
from sluice.domain.chat import Chat, Job, new_id, now
from sluice.domain.errors import NotFound
from sluice.domain.graph_state import ROOT, Head
from sluice.infrastructure.chats.postgres.chats import PostgresChats
from sluice.infrastructure.chats.postgres.heads import PostgresHeads
from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.chats.sqlite.heads import SqliteHeads
from sluice.infrastructure.postgres.database import PostgresDatabase
from sluice.infrastructure.sqlite.database import SqliteDatabase
from tests.contract.postgres import drop

EVER = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Stores:
    chats: ChatPort
    heads: HeadPort

    async def ask(self, *, retry_of: Job | None = None, chat: str = "c") -> Job:
        tried = None if retry_of is None else retry_of.id
        job = Job(new_id(), chat, "u", "A2", "why?", "r", retry_of=tried)
        await self.chats.add_question(job)
        return job

    async def begun(self, **asked: Job | None) -> tuple[Job, Head]:
        job = await self.ask(**asked)  # type: ignore[arg-type]
        return job, await self.heads.begin(job)

    async def advance(self, job: Job, to: str, attempt: int = 1) -> Head:
        head = Head((await self.heads.begin(job)).thread_id, to)
        await self.chats.keep_answer(job, "because", "completed", attempt, head=head)
        return head

    async def stands_at(self) -> str:
        """Where a new question would begin."""
        job, head = await self.begun()
        await self.chats.remove_question(job)
        return head.checkpoint_id


@pytest.fixture(params=["sqlite", "postgres"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        shared = PostgresDatabase(url, schema=f"test_{secrets.token_hex(8)}")
        await shared.open()
        both = Stores(PostgresChats(shared), PostgresHeads(shared))
        await both.chats.open(Chat("c", "u", None, now()))
        yield both
        await shared.run(drop)
        await shared.aclose()
        return
    database = SqliteDatabase(tmp_path / "a.db")
    await database.open()
    both = Stores(SqliteChats(database), SqliteHeads(database))
    await both.chats.open(Chat("c", "u", None, now()))
    yield both
    await database.aclose()


async def test_a_chats_first_job_begins_at_the_root_of_a_thread_of_its_own(stores: Stores) -> None:
    await stores.chats.open(Chat("d", "u", None, now()))
    _, head = await stores.begun()
    _, other = await stores.begun(chat="d")  # type: ignore[arg-type]
    assert head.checkpoint_id == other.checkpoint_id == ROOT
    assert head.thread_id != other.thread_id


async def test_the_next_job_begins_where_the_last_one_ended(stores: Stores) -> None:
    head = await stores.advance(await stores.ask(), "one")
    assert (await stores.begun())[1] == head == Head(head.thread_id, "one")


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_a_job_without_a_head_leaves_the_chat_where_it_was(
    stores: Stores, status: str
) -> None:
    await stores.advance(await stores.ask(), "one")
    job, _ = await stores.begun()
    await stores.chats.keep_answer(job, "half", status, 1)  # type: ignore[arg-type]
    assert await stores.stands_at() == "one"


async def test_every_attempt_begins_where_the_first_one_did(stores: Stores) -> None:
    job, head = await stores.begun()
    await stores.advance(job, "one")
    assert await stores.heads.begin(job) == head


async def test_of_two_attempts_that_ended_the_later_ones_head_counts(stores: Stores) -> None:
    job = await stores.ask()
    await stores.advance(job, "second", attempt=2)
    await stores.advance(job, "first", attempt=1)
    assert await stores.stands_at() == "second"


async def test_an_attempt_that_fails_after_one_that_ended_takes_its_head_back(
    stores: Stores,
) -> None:
    await stores.advance(await stores.ask(), "one")
    job = await stores.ask()
    await stores.advance(job, "two", attempt=1)
    await stores.chats.keep_answer(job, "", "failed", 2)
    assert await stores.stands_at() == "one"
    await stores.advance(await stores.ask(), "three")
    assert await stores.stands_at() == "three"


async def test_a_retry_begins_where_its_first_try_did_and_moves_the_chat(stores: Stores) -> None:
    await stores.advance(await stores.ask(), "one")
    tried = await stores.ask()
    await stores.advance(tried, "two")
    again, head = await stores.begun(retry_of=tried)
    assert head.checkpoint_id == "one"
    await stores.advance(again, "two again")
    assert await stores.stands_at() == "two again"
    _, head = await stores.begun(retry_of=again)
    assert head.checkpoint_id == "one"


async def test_a_retry_of_an_earlier_question_leaves_the_chat_where_it_is(stores: Stores) -> None:
    first = await stores.ask()
    await stores.advance(first, "one")
    await stores.advance(await stores.ask(), "two")
    again, head = await stores.begun(retry_of=first)
    assert head.checkpoint_id == ROOT
    await stores.advance(again, "one again")
    assert await stores.stands_at() == "two"


async def test_a_retry_moves_the_chat_when_what_came_later_failed(stores: Stores) -> None:
    first = await stores.ask()
    await stores.advance(first, "one")
    later, _ = await stores.begun()
    await stores.chats.keep_answer(later, "", "failed", 1)
    again, _ = await stores.begun(retry_of=first)
    await stores.advance(again, "one again")
    assert await stores.stands_at() == "one again"


async def test_a_retry_of_what_never_began_begins_before_what_was_asked_later(
    stores: Stores,
) -> None:
    await stores.advance(await stores.ask(), "one")
    never = await stores.ask()
    await stores.chats.keep_answer(never, "", "cancelled", 1)
    await stores.advance(await stores.ask(), "three")
    _, head = await stores.begun(retry_of=never)
    assert head.checkpoint_id == "one"


async def test_in_use_is_where_the_chat_stands_and_where_what_may_be_retried_began(
    stores: Stores,
) -> None:
    first = await stores.ask()
    await stores.advance(first, "one")
    second = await stores.ask()
    await stores.advance(second, "two")
    third, _ = await stores.begun()
    assert set(await stores.heads.in_use(third, EVER)) == {ROOT, "one", "two"}
    later = now() + timedelta(hours=1)
    assert set(await stores.heads.in_use(third, later)) == {"two"}
    await stores.advance(third, "three")
    assert set(await stores.heads.in_use(third, later)) == {"three"}


async def test_a_deleted_chats_thread_is_known_until_it_is_forgotten(stores: Stores) -> None:
    job, head = await stores.begun()
    await stores.chats.delete("u", "c")
    assert list(await stores.heads.deleted()) == [head.thread_id]
    assert not await stores.heads.in_use(job, EVER)
    with pytest.raises(NotFound):
        await stores.heads.begin(job)
    await stores.heads.forgotten(head.thread_id)
    assert not await stores.heads.deleted()


async def test_a_chat_that_kept_no_state_leaves_no_thread(stores: Stores) -> None:
    await stores.chats.keep_answer(await stores.ask(), "because", "completed", 1)
    await stores.chats.delete("u", "c")
    assert not await stores.heads.deleted()


async def test_nothing_begins_in_no_chat(stores: Stores) -> None:
    job = await stores.ask()
    with pytest.raises(NotFound):
        await stores.heads.begin(replace(job, id="other"))


async def test_what_could_not_be_forgotten_is_known_until_it_is(stores: Stores) -> None:
    await stores.heads.leave("thread")
    await stores.heads.leave("thread")
    assert list(await stores.heads.deleted()) == ["thread"]
    await stores.heads.forgotten("thread")
    assert not await stores.heads.deleted()
