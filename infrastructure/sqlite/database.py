"""One SQLite file in WAL mode: a thread that writes, a thread that reads. None in memory.

Deliberate divergence: work is handed to the connection's thread as one function, a whole
transaction at a time, and not statement by statement as aiosqlite is mostly used. A transaction
is then one change of threads, cannot be torn by a cancellation, and no statement's text values
reach aiosqlite's debug log.
"""

import asyncio
import logging
import os
import sqlite3
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, cast

import aiosqlite

from sluice.domain.errors import Unavailable
from sluice.infrastructure.sqlite.file import (
    LOCK_TIMEOUT_SECONDS,
    connect,
    connect_reader,
    reserve,
    touch,
    truncate_wal,
)

logger = logging.getLogger(__name__)
T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_RETRY_SECONDS = 0.5
"""Seconds between two tries while the file cannot be written."""


class ConnectionThread(aiosqlite.Connection):
    """A connection with the thread that owns it."""

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, iter_chunk_size=64)
        self._thread.daemon = True  # an exit without aclose must not hang

    async def start(self) -> Self:
        try:
            await self
        except BaseException:
            # Its last act is to tell this loop, so it must be over before the loop is.
            await asyncio.to_thread(self._thread.join)
            raise
        return self

    async def run(self, work: Work[T]) -> T:
        return cast("T", await self._execute(work, self._conn))  # type: ignore[no-untyped-call]


class _Here:
    """A connection to memory: it never waits, so that a thread would only cost."""

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        self._connector = connector

    async def start(self) -> Self:
        self._conn = self._connector()
        return self

    async def run(self, work: Work[T]) -> T:
        return work(self._conn)

    async def close(self) -> None:
        self._conn.close()


class _Write(Generic[T]):
    __slots__ = ("durable", "error", "result", "work")

    def __init__(self, work: Work[T], *, durable: bool) -> None:
        self.work, self.durable = work, durable
        self.result: T | None = None
        self.error: BaseException | None = None


class SqliteDatabase:
    """`path` may be `:memory:`. Nothing is touched before `open`.

    A store method that meets a full disk, a lock held by others or a broken file raises
    Unavailable; the next one tries again.
    """

    def __init__(self, path: str | Path) -> None:
        self._memory = str(path) == ":memory:"
        self._path = Path(path)
        self._writer: ConnectionThread | _Here | None = None
        self._reader: ConnectionThread | None = None
        self._lock: int | None = None
        self._pending: deque[_Write[Any]] = deque()
        self._outage: BaseException | None = None
        self._lock_timeout = LOCK_TIMEOUT_SECONDS
        self._in_force: tuple[int, bool] | None = None
        self.unscrubbed = False

    async def open(self) -> None:
        """Raises ValueError, naming the file, if it cannot be this service's database."""
        try:
            if self._memory:
                self._writer = await _Here(self._connect).start()
            else:
                self._writer = await ConnectionThread(self._connect).start()
                self._reader = await ConnectionThread(partial(connect_reader, self._path)).start()
        except OSError as error:
            await self.aclose()
            raise ValueError(f"{self._path}: {error.strerror}") from error
        except sqlite3.Error as error:
            await self.aclose()
            raise ValueError(f"{self._path}: {error}") from error
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """What was written before is in the file when this returns."""
        reader, self._reader = self._reader, None
        writer, self._writer = self._writer, None
        if reader is not None:
            await reader.close()
        if writer is not None:
            await writer.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def read(self, work: Work[T]) -> T:
        try:
            return await self._open(self._reader or self._writer).run(work)
        except sqlite3.DatabaseError as error:
            raise Unavailable("the database cannot be read") from error

    async def write(self, work: Work[T], *, durable: bool = True) -> T:
        """Runs `work` in a transaction, together with whatever else waits to be written.

        When it returns the commit has reached the disk; without `durable` only the operating
        system, and the disk with the next durable one. `work` may be run twice: what it raises
        undoes it and nothing else.
        """
        write = _Write(work, durable=durable)
        writer = self._open(self._writer)
        self._pending.append(write)
        await writer.run(self._commit_pending)
        if write.error is None:
            self._note(None)
            return cast("T", write.result)
        if _is_outage(write.error):
            self._note(write.error)
            raise Unavailable("the database cannot be written") from write.error
        raise write.error

    async def persist(self, work: Work[T], *, durable: bool = True) -> T:
        """Like `write`, but outlasts an outage: raises Unavailable only once closed."""
        while True:
            try:
                return await self.write(work, durable=durable)
            except Unavailable:
                if self._writer is None:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)

    async def check(self) -> None:
        """Raises Unavailable unless the file can be written now."""
        await self.write(touch, durable=False)

    async def scrub(self) -> None:
        """Removes what was deleted from the WAL too; is left for later while others read it."""
        self.unscrubbed = True
        await self.scrub_rest()

    async def scrub_rest(self) -> None:
        if self.unscrubbed:
            self.unscrubbed = not await self._open(self._writer).run(self._truncate_wal)

    def _open(self, connection: ConnectionThread | _Here | None) -> ConnectionThread | _Here:
        if connection is None:
            raise Unavailable("the database is closed")
        return connection

    def _note(self, outage: BaseException | None) -> None:
        """Tells the operator when an outage begins and ends."""
        if (outage is None) == (self._outage is None):
            return
        self._outage = outage
        if outage is None:
            logger.warning("%s can be written again", self._path)
        else:
            logger.error("%s cannot be written: %s", self._path, outage)

    def _commit_pending(self, db: sqlite3.Connection) -> None:
        group = []
        while self._pending:
            group.append(self._pending.popleft())
        if not group:
            return
        error = self._commit(db, group)
        # While a lock lasts only the first waits for it: the others would wait behind each other.
        self._lock_timeout = 0 if error is not None and _is_outage(error) else LOCK_TIMEOUT_SECONDS
        if error is not None:
            for write in group:
                alone = len(group) == 1 or _is_outage(error)
                write.error = error if alone else self._commit(db, [write])

    def _commit(self, db: sqlite3.Connection, group: list[_Write[Any]]) -> BaseException | None:
        """All or nothing; the error is what ended it."""
        try:
            self._prepare(db, durable=any(write.durable for write in group))
            db.execute("BEGIN IMMEDIATE")
            for write in group:
                write.result = write.work(db)
            db.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - each caller gets its own, in its own task
            try:
                if db.in_transaction:
                    db.execute("ROLLBACK")
            except sqlite3.Error as worse:
                return worse
            return error
        return None

    def _prepare(self, db: sqlite3.Connection, *, durable: bool) -> None:
        wanted = self._lock_timeout, durable
        if self._memory or self._in_force == wanted:
            return
        db.execute(f"PRAGMA busy_timeout = {1000 * self._lock_timeout}")
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self._in_force = wanted

    def _truncate_wal(self, db: sqlite3.Connection) -> bool:
        self._in_force = None  # it sets what it needs, too
        return truncate_wal(db)

    def _connect(self) -> sqlite3.Connection:
        self._in_force = None
        if not self._memory:
            self._lock = reserve(self._path)
        return connect(self._path)


def _is_outage(error: BaseException) -> bool:
    """The file's fault, not the statement's."""
    return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError
