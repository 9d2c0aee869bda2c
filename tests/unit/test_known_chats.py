"""What is remembered of chats is what stands in the database, whatever happens side by side."""

import asyncio

import pytest

from sluice.domain.chat import Chat, Job, new_id, now
from sluice.domain.errors import NotFound, Unavailable
from sluice.domain.events import QUEUED
from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.chats.sqlite.known_chats import KnownChats
from sluice.infrastructure.event_log.sqlite.log import SqliteEventLog
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.infrastructure.sqlite.joint_writes import JointWrites


def a_chat(title: str | None = None) -> Chat:
    return Chat(new_id(), "ann", title, now())


async def test_a_chat_that_was_asked_for_is_known_without_the_database(
    database: SqliteDatabase,
) -> None:
    chats = SqliteChats(database)
    opened = await chats.open(a_chat())
    earlier = await SqliteChats(database).open(a_chat())
    found = await chats.chat("ann", earlier.id)
    await database.aclose()
    assert await chats.chat("ann", opened.id) == opened
    assert await chats.chat("ann", earlier.id) == found == earlier
    with pytest.raises(Unavailable):  # another user's is another question
        await chats.chat("bob", opened.id)


async def test_a_chat_is_known_by_its_new_name_and_not_at_all_once_it_is_deleted(
    database: SqliteDatabase,
) -> None:
    chats = SqliteChats(database)
    chat = await chats.open(a_chat("old"))
    await chats.rename("ann", chat.id, "new")
    assert (await chats.chat("ann", chat.id)).title == "new"
    await chats.delete("ann", chat.id)
    with pytest.raises(NotFound):
        await chats.chat("ann", chat.id)


async def test_what_was_read_before_a_change_is_not_remembered_after_it() -> None:
    known, chat, read_on = KnownChats(), a_chat(), asyncio.Event()

    async def read() -> Chat:
        await read_on.wait()
        return chat

    reading = asyncio.create_task(known.learn(read()))
    await asyncio.sleep(0)
    with known.changing("ann", chat.id):
        pass
    read_on.set()
    assert await reading == chat
    assert known.get("ann", chat.id) is None


async def test_a_change_that_may_have_happened_is_looked_up_again() -> None:
    known, chat = KnownChats(), a_chat()

    async def read() -> Chat:
        return chat

    await known.learn(read())
    with pytest.raises(Unavailable), known.changing("ann", chat.id):
        raise Unavailable
    assert known.get("ann", chat.id) is None


async def test_only_the_last_of_very_many_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluice.infrastructure.chats.sqlite.known_chats._MOST", 2)
    known, chats = KnownChats(), [a_chat(), a_chat(), a_chat()]

    async def read(chat: Chat) -> Chat:
        return chat

    for chat in chats:
        await known.learn(read(chat))
    assert [known.get("ann", chat.id) for chat in chats] == [None, *chats[1:]]


async def test_a_first_question_is_known_without_the_database_until_more_is_said(
    database: SqliteDatabase,
) -> None:
    chats = SqliteChats(database)
    chat = await chats.open(a_chat())
    first, second = (Job(new_id(), chat.id, "ann", "A2", text, "r") for text in ("a", "b"))
    await chats.add_question(first)
    asked = await chats.messages("ann", chat.id)
    assert asked == await SqliteChats(database).messages("ann", chat.id)
    await database.aclose()
    assert await chats.messages("ann", chat.id) == asked
    await database.open()
    await chats.keep_answer(first, "so", "completed", 1)
    assert [each.content for each in await chats.messages("ann", chat.id)] == ["a", "so"]
    await chats.add_question(second)
    assert [each.content for each in await chats.messages("ann", chat.id)] == ["a", "so", "b"]


@pytest.mark.parametrize("change", ["asked again", "taken back", "deleted"])
async def test_a_first_question_is_not_all_any_more_when_its_chat_changes(
    database: SqliteDatabase, change: str
) -> None:
    chats = SqliteChats(database)
    chat = await chats.open(a_chat())
    first, second = (Job(new_id(), chat.id, "ann", "A2", text, "r") for text in ("a", "b"))
    await chats.add_question(first)
    match change:
        case "asked again":
            await chats.add_question(second)
            assert [each.content for each in await chats.messages("ann", chat.id)] == ["a", "b"]
        case "taken back":
            await chats.remove_question(first)
            assert await chats.messages("ann", chat.id) == []
        case _:
            await chats.delete("ann", chat.id)
            with pytest.raises(NotFound):
                await chats.messages("ann", chat.id)


async def test_a_question_that_was_not_written_is_not_known(database: SqliteDatabase) -> None:
    joint = JointWrites()
    chats, log = SqliteChats(database, joint), SqliteEventLog(database, joint=joint)
    chat = await chats.open(a_chat())
    job = Job(new_id(), chat.id, "ann", "A2", "a" * 50_000, "r")
    await chats.add_question(job)
    (pages,) = await database.read(lambda db: db.execute("PRAGMA page_count").fetchone())
    await database.write(lambda db: db.execute(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(Unavailable):
        await log.create(job, QUEUED)
    assert await chats.messages("ann", chat.id) == []
