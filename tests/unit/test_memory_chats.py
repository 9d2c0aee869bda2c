"""Chats of `memory://`: an answer asks the database for nothing but its outcome's row."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from sluice.domain.chat import Chat, new_id, now
from sluice.domain.errors import NotFound
from sluice.infrastructure.chats.memory import MemoryChats
from sluice.infrastructure.chats.sqlite.sessions import SqliteSessions
from sluice.infrastructure.sqlite.database import SqliteDatabase
from tests.doubles import a_job


@pytest.fixture
async def database() -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(":memory:")
    await database.open()
    yield database
    await database.aclose()


async def test_a_whole_turn_is_no_statement(database: SqliteDatabase) -> None:
    statements: list[str] = []
    await database.read(lambda db: db.set_trace_callback(statements.append))
    chats, chat = MemoryChats(database), Chat(new_id(), "u", None, now())
    await chats.open(chat)
    job = replace(a_job(), chat_id=chat.id, user="u")
    await chats.add_question(job)
    await chats.keep_answer(job, "yes", "completed", 1)
    assert [said.content for said in await chats.messages("u", chat.id)] == [job.message, "yes"]
    assert statements == []


async def test_a_deleted_chat_leaves_nothing(database: SqliteDatabase) -> None:
    chats, chat = MemoryChats(database), Chat(new_id(), "u", None, now())
    await chats.open(chat)
    await SqliteSessions(database).session("u", "mine", chat.id)
    job = replace(a_job(), chat_id=chat.id, user="u")
    again = replace(job, id=new_id(), retry_of=job.id)
    for each in (job, again):
        await chats.add_question(each)
    await chats.keep_answer(again, "yes", "completed", 1)
    await chats.delete("u", chat.id)
    assert await SqliteSessions(database).find("u", "mine") is None
    assert not await chats.has_ended(again.id)
    assert chats._asked == {}
    with pytest.raises(NotFound):
        await chats.messages("u", chat.id)


async def test_what_is_written_in_memory_waits_for_nobody(database: SqliteDatabase) -> None:
    """No future, and no turn of the loop: a coroutine that ends with its first step."""
    writing: Any = database.write(lambda db: db.execute("SELECT 1").fetchone())
    with pytest.raises(StopIteration) as done:
        writing.send(None)
    assert done.value.value == (1,)
