"""Checkpoints in PostgreSQL, in the schema of the chats. Its library is an extra."""

import asyncio

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import InterfaceError, OperationalError

from sluice.domain.errors import Unavailable
from sluice.infrastructure.pipeline.savers.saver import Saver
from sluice.infrastructure.postgres.database import Connection, PostgresDatabase

_SETUP_LOCK = 0x534C4344
"""Of whoever makes the tables: one process at a time."""
_POLL_SECONDS = 0.1


class PostgresSaver(Saver, AsyncPostgresSaver):
    outages = (OperationalError, InterfaceError, Unavailable)

    def __init__(self, database: PostgresDatabase) -> None:
        """Needs a running event loop, as its parent does."""
        AsyncPostgresSaver.__init__(self, database.pool)  # type: ignore[arg-type]
        self._database = database
        self._setup = _Setup()

    async def ready(self) -> None:
        async with self._setup.lock:
            if not self._setup.done:
                await self._database.check()  # it makes the schema
                await self._make_tables()
                self._setup.done = True

    async def _make_tables(self) -> None:
        """A lock that is waited for would make `CREATE INDEX CONCURRENTLY` wait in turn."""
        async with self._database.pool.connection() as connection:
            while not await _locked(connection):  # noqa: ASYNC110 - in another process
                await asyncio.sleep(_POLL_SECONDS)
            try:
                await self.setup()
            finally:
                await connection.execute("SELECT pg_advisory_unlock(%s)", [_SETUP_LOCK])


class _Setup:
    """Shared by the copies that LangGraph makes of a saver, one for each graph."""

    def __init__(self) -> None:
        self.lock, self.done = asyncio.Lock(), False


async def _locked(connection: Connection) -> bool:
    found = await connection.execute("SELECT pg_try_advisory_lock(%s)", [_SETUP_LOCK])
    return await found.fetchone() == (True,)
