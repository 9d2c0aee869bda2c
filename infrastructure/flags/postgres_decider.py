"""The one process that decides, of all that share a PostgreSQL: who holds an advisory lock.

The lock is the session's, so it is gone with its holder's connection, whatever ended that. A pool
in between that lends sessions by transaction, as PgBouncer can, would lose it.
"""

import asyncio
from contextlib import suppress

from psycopg import Error

from sluice.domain.errors import Unavailable
from sluice.infrastructure.postgres.database import Connection, PostgresDatabase

_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('sluice guard ' || current_schema, 0))"
_TIMEOUT_SECONDS = 3


class PostgresDecider:
    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._session: Connection | None = None

    async def held(self) -> bool:
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                if self._session is None:
                    return await self._take()
                await self._session.execute("SELECT 1")
                return True
        except (Error, TimeoutError) as error:
            await self.release()
            raise Unavailable("PostgreSQL cannot be reached") from error

    async def release(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(Error):
                await session.close()

    async def _take(self) -> bool:
        session = await self._database.session()
        try:
            row = await (await session.execute(_LOCK)).fetchone()
            if row == (True,):
                self._session = session
        finally:
            if self._session is not session:
                await session.close()
        return self._session is not None
