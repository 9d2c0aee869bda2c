"""The bench of each test: a job that nobody has processed yet."""

from collections.abc import AsyncIterator

import pytest

from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.chats.sqlite.pauses import SqlitePauses
from sluice.infrastructure.outcomes.sqlite import SqliteOutcomes
from sluice.infrastructure.sqlite.database import SqliteDatabase
from tests.unit.process_chat.bench import Bench


@pytest.fixture
async def bench(no_generator_left: None) -> AsyncIterator[Bench]:
    database = SqliteDatabase(":memory:")
    await database.open()
    bench = Bench(SqliteChats(database), SqliteOutcomes(database), SqlitePauses(database))
    await bench.opened()
    yield bench
    await database.aclose()
