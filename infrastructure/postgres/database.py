"""A pool of connections that may be down now and back later, and the schema's migrations."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

from psycopg import (
    AsyncConnection,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    OperationalError,
    sql,
)
from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction
from psycopg_pool import AsyncConnectionPool

from sluice.application.outages import Outage
from sluice.application.tracebacks import format_traceback
from sluice.domain.errors import Unavailable
from sluice.infrastructure.postgres.schema import STEPS

logger = logging.getLogger(__name__)

T = TypeVar("T")
Connection = AsyncConnection[tuple[Any, ...]]
Work = Callable[[Connection], Awaitable[T]]

_TIMEOUT_SECONDS = 3
"""Seconds for a connection, and again for the work: a database that hangs is down."""
_RETRY_SECONDS = 0.5
"""Seconds between two tries while the database is down."""
_MIGRATION_LOCK = 0x534C4943
"""Of the migrations: one process at a time."""

_REFUSALS: Mapping[type[Exception], str] = {
    ReadOnlySqlTransaction: "PostgreSQL takes no writes",
    InsufficientPrivilege: "PostgreSQL refuses the user a statement",
    OperationalError: "PostgreSQL cannot be reached",
    InterfaceError: "PostgreSQL cannot be reached",
    TimeoutError: "PostgreSQL cannot be reached",
}


class _Connection(AsyncConnection[tuple[Any, ...]]):
    """One that could not be made is closed at once. psycopg leaves its socket to the garbage
    collector, in a cycle of its error and the frames that this has come through, and here that
    looks seldom: while a database hangs each try would be a descriptor more.
    """

    @classmethod
    async def connect(cls, *conninfo: Any, **options: Any) -> Any:
        try:
            return await super().connect(*conninfo, **options)
        except Error as error:
            error.__context__ = None
            raise error.with_traceback(None) from None


class PostgresDatabase:
    """`schema` is made if need be, with everything in it."""

    def __init__(self, url: str, *, schema: str = "sluice") -> None:
        self._schema, self._url = schema, url
        options = {
            "autocommit": True,
            "connect_timeout": _TIMEOUT_SECONDS,
            "options": f"-c search_path={schema}",
        }
        self._options: dict[str, Any] = options
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            connection_class=_Connection,
            # Connected on demand only, so that the next request finds what is up again.
            min_size=0,
            max_size=10,
            timeout=_TIMEOUT_SECONDS,
            reconnect_timeout=1,
            check=AsyncConnectionPool.check_connection,
            kwargs=options,
            open=False,
        )
        self._migrated = False
        self._migrating = asyncio.Lock()
        self._closed = False
        self._outage = Outage(logger, "jobs wait for their chats", "jobs wait for no chat any more")

    @property
    def pool(self) -> AsyncConnectionPool[Connection]:
        """For a library that brings its own statements, in the schema, which `run` has made."""
        return self._pool

    async def open(self) -> None:
        """The database may be down: it is waited for where it is needed."""
        await self._pool.open()

    async def aclose(self) -> None:
        self._closed = True
        await self._pool.close()

    async def session(self) -> Connection:
        """A connection of the caller's own, who closes it. Raises psycopg's errors."""
        return cast("Connection", await _Connection.connect(self._url, **self._options))

    async def run(self, work: Work[T]) -> T:
        """Runs `work` as one transaction."""
        async with self._connected() as connection:
            if not self._migrated:
                await self._migrate(connection)
            async with connection.transaction():
                return await work(connection)

    async def persist(self, work: Work[T]) -> T:
        """Like `run`, but outlasts an outage: raises Unavailable only once closed."""
        while True:
            try:
                result = await self.run(work)
            except Unavailable as error:
                if self._closed:
                    raise
                self._outage.note(format_traceback(error))
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self._outage.note(None)
                return result

    async def check(self) -> None:
        """Raises Unavailable, saying why, unless it takes writes."""

        async def look(connection: Connection) -> tuple[Any, ...] | None:
            return await (await connection.execute("SHOW transaction_read_only")).fetchone()

        if await self.run(look) != ("off",):
            raise Unavailable("PostgreSQL takes no writes")

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[Connection, None]:
        try:
            async with asyncio.timeout(2 * _TIMEOUT_SECONDS), self._pool.connection() as connection:
                yield connection
        except (IntegrityError, DataError):  # the statement's own fault, which does not pass
            raise
        except (Error, TimeoutError) as error:
            told = (told for kind, told in _REFUSALS.items() if isinstance(error, kind))
            raise Unavailable(next(told, "PostgreSQL refuses a statement")) from error

    async def _migrate(self, connection: Connection) -> None:
        schema = sql.Identifier(self._schema)
        async with self._migrating, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_MIGRATION_LOCK])
            found = await connection.execute("SELECT to_regclass('schema_version')")
            if await found.fetchone() == (None,):  # else no right to make it is needed
                await connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
                await connection.execute("CREATE TABLE schema_version (version integer NOT NULL)")
            found = await connection.execute("SELECT version FROM schema_version")
            row = await found.fetchone()
            version = row[0] if row else 0
            if row is None:
                await connection.execute("INSERT INTO schema_version VALUES (0)")
            for step in STEPS[version:]:
                await connection.execute(step.encode())
            if version < len(STEPS):
                await connection.execute("UPDATE schema_version SET version = %s", [len(STEPS)])
        self._migrated = True
