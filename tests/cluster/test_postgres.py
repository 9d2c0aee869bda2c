"""Chats while PostgreSQL is away, and its tables from nothing."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
from psycopg import AsyncConnection

from sluice.domain.chat import Chat, now
from sluice.domain.errors import NotFound, Unavailable
from sluice.infrastructure.chats.postgres import chats as postgres
from sluice.infrastructure.chats.postgres.chats import PostgresChats
from sluice.infrastructure.postgres.database import PostgresDatabase
from sluice.infrastructure.postgres.schema import STEPS
from tests.doubles import a_job
from tests.services import PostgresServer, free_port

CHAT = Chat("chat", "ann", None, now())


@pytest.fixture
async def database(own_postgres: PostgresServer) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(own_postgres.url, schema=f"test_{secrets.token_hex(8)}")
    await database.open()
    yield database
    await database.aclose()


async def test_what_is_down_is_unavailable_and_what_is_up_again_is_found(
    own_postgres: PostgresServer, database: PostgresDatabase
) -> None:
    conversations = PostgresChats(database)
    await conversations.open(CHAT)
    own_postgres.stop()
    try:
        with pytest.raises(Unavailable, match="PostgreSQL cannot be reached"):
            await database.check()
        with pytest.raises(Unavailable):
            await conversations.chat("ann", "chat")
    finally:
        own_postgres.start()
    assert await conversations.chat("ann", "chat") == CHAT
    await database.check()


async def test_an_answer_waits_for_the_database(
    own_postgres: PostgresServer, database: PostgresDatabase
) -> None:
    conversations = PostgresChats(database)
    job = a_job()
    await conversations.open(CHAT)
    await conversations.add_question(job)
    own_postgres.stop()
    try:
        answering = asyncio.create_task(conversations.keep_answer(job, "because", "completed", 1))
        with pytest.raises(Unavailable):
            await database.check()
    finally:
        own_postgres.start()
    await answering
    question, answer = await conversations.messages("ann", "chat")
    assert (question.content, answer.content) == (job.message, "because")


async def test_a_database_that_is_down_at_start_delays_nothing() -> None:
    database = PostgresDatabase(f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    async with asyncio.timeout(5):
        await database.open()
        with pytest.raises(Unavailable):
            await database.check()
        await database.aclose()
        with pytest.raises(Unavailable):
            await PostgresChats(database).keep_answer(a_job(), "because", "completed", 1)


async def test_an_answer_of_the_first_version_is_one_of_a_first_attempt(
    own_postgres: PostgresServer, database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, newer = a_job(), PostgresDatabase(own_postgres.url, schema=database._schema)
    with monkeypatch.context() as patched:
        patched.setattr("sluice.infrastructure.postgres.database.STEPS", STEPS[:1])
        await PostgresChats(database).open(CHAT)
        await PostgresChats(database).add_question(job)
        answer = (
            "INSERT INTO messages (chat, turn, id, role, content, job_id, status)"
            " VALUES (1, 1, 'a', 'assistant', 'so', %s, 'completed')"
        )
        await database.run(lambda db: db.execute(answer, [job.id]))
    await newer.open()
    conversations = PostgresChats(newer)
    assert [each.content for each in await conversations.messages("ann", "chat")] == ["Why?", "so"]
    await conversations.keep_answer(job, "", "cancelled", 2)
    await conversations.keep_answer(job, "so", "completed", 1)
    assert [each.content for each in await conversations.messages("ann", "chat")] == ["Why?"]
    # A process of the first version may still be there.
    await PostgresChats(database).add_question(a_job())
    await newer.aclose()


async def test_many_processes_make_the_tables_once(own_postgres: PostgresServer) -> None:
    schema = f"test_{secrets.token_hex(8)}"
    processes = [PostgresDatabase(own_postgres.url, schema=schema) for _ in range(5)]
    for process in processes:
        await process.open()
    await asyncio.gather(*(process.check() for process in processes))
    conversations = [PostgresChats(process) for process in processes]
    await conversations[0].open(CHAT)
    assert await conversations[1].chat("ann", "chat") == CHAT
    for process in processes:
        await process.aclose()


async def test_a_database_that_takes_no_writes_is_unavailable(
    own_postgres: PostgresServer, database: PostgresDatabase
) -> None:
    """As a standby after a failover does. Nothing that was said is lost meanwhile."""
    conversations, job = PostgresChats(database), a_job()
    await conversations.open(CHAT)
    await conversations.add_question(job)
    read_only = "ALTER DATABASE postgres SET default_transaction_read_only TO {}"
    try:
        await alter(own_postgres, database, read_only.format("on"))
        with pytest.raises(Unavailable, match="PostgreSQL takes no writes"):
            await database.check()
        with pytest.raises(Unavailable, match="PostgreSQL takes no writes"):
            await conversations.rename("ann", "chat", "new")
        answering = asyncio.create_task(conversations.keep_answer(job, "because", "completed", 1))
        await asyncio.sleep(0.1)
        assert not answering.done()
    finally:
        await alter(own_postgres, database, read_only.format("off"))
    await answering
    await database.check()
    assert [m.content for m in await conversations.messages("ann", "chat")][-1] == "because"


async def alter(server: PostgresServer, database: PostgresDatabase, what: str) -> None:
    """For connections made from now on."""
    async with await AsyncConnection.connect(server.url, autocommit=True) as admin:
        await admin.execute("SET default_transaction_read_only TO off")
        await admin.execute(what.encode())
    await database._pool.drain()


async def test_tables_that_are_there_need_no_right_to_make_them(
    own_postgres: PostgresServer, database: PostgresDatabase
) -> None:
    await PostgresChats(database).open(CHAT)
    role, schema = f"role_{secrets.token_hex(4)}", database._schema
    async with await AsyncConnection.connect(own_postgres.url, autocommit=True) as admin:
        for statement in (
            f"CREATE ROLE {role} LOGIN",
            f"GRANT USAGE ON SCHEMA {schema} TO {role}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
        ):
            await admin.execute(statement.encode())
    poor = PostgresDatabase(own_postgres.url.replace("postgres@", f"{role}@"), schema=schema)
    await poor.open()
    assert await PostgresChats(poor).chat("ann", "chat") == CHAT
    with pytest.raises(Unavailable, match="refuses the user a statement"):
        await poor.run(lambda db: db.execute("CREATE TABLE t (a integer)"))
    await poor.aclose()


async def test_a_question_in_a_chat_that_is_deleted_meanwhile_finds_no_chat(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def key(*_: object) -> int:
        return 1_000_000  # it was there a moment ago

    conversations = PostgresChats(database)
    await conversations.open(CHAT)
    monkeypatch.setattr(postgres, "_key", key)
    with pytest.raises(NotFound):
        await conversations.add_question(a_job())
