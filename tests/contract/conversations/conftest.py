"""Every store of chats. A new one joins with one more fixture parameter."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sluice.application.chat_ports import ChatPort, IdempotencyPort, SessionPort
from sluice.infrastructure.chats.memory import MemoryChats
from sluice.infrastructure.chats.postgres.chats import PostgresChats
from sluice.infrastructure.chats.postgres.idempotency import PostgresIdempotency
from sluice.infrastructure.chats.postgres.sessions import PostgresSessions
from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.chats.sqlite.idempotency import SqliteIdempotency
from sluice.infrastructure.chats.sqlite.sessions import SqliteSessions
from sluice.infrastructure.postgres.database import PostgresDatabase
from sluice.infrastructure.sqlite.database import SqliteDatabase
from tests.contract.conversations.stores import Stores
from tests.contract.postgres import drop


@pytest.fixture(params=["sqlite", "sqlite in memory", "memory", "postgres"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        shared = PostgresDatabase(url, schema=f"test_{secrets.token_hex(8)}")
        await shared.open()
        yield Stores(PostgresChats(shared), PostgresSessions(shared), PostgresIdempotency(shared))
        await shared.run(drop)
        await shared.aclose()
        return
    database = SqliteDatabase(tmp_path / "a.db" if request.param == "sqlite" else ":memory:")
    await database.open()
    chats = MemoryChats(database) if request.param == "memory" else SqliteChats(database)
    yield Stores(chats, SqliteSessions(database), SqliteIdempotency(database))
    await database.aclose()


@pytest.fixture
def chats(stores: Stores) -> ChatPort:
    return stores.chats


@pytest.fixture
def sessions(stores: Stores) -> SessionPort:
    return stores.sessions


@pytest.fixture
def keys(stores: Stores) -> IdempotencyPort:
    return stores.keys
