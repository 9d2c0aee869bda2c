"""One SQLite file in WAL mode: a thread that writes, a thread that reads.

Deliberate divergence: work is handed to the connection's thread as one function, a whole
transaction at a time, and not statement by statement as aiosqlite is mostly used. A transaction
is then one change of threads, cannot be torn by a cancellation, and no statement's text values
reach aiosqlite's debug log.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, cast

import aiosqlite

from domain.errors import Unavailable
from infrastructure.sqlite.schema import APPLICATION_ID, STEPS

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_PATIENCE = 2
"""Seconds to wait for another program that holds the file's lock."""
_PAUSE = 0.5
"""Seconds between two tries while the file cannot be written."""


class _Thread(aiosqlite.Connection):
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


class _Write(Generic[T]):
    __slots__ = ("durable", "error", "result", "work")

    def __init__(self, work: Work[T], *, durable: bool) -> None:
        self.work, self.durable = work, durable
        self.result: T | None = None
        self.error: BaseException | None = None


class Database:
    """`path` may be `:memory:`. Nothing is touched before `open`.

    A store method that meets a full disk, a lock held by others or a broken file raises
    Unavailable; the next one tries again.
    """

    def __init__(self, path: str | Path) -> None:
        self._memory = str(path) == ":memory:"
        self._path = Path(path)
        self._writer: _Thread | None = None
        self._reader: _Thread | None = None
        self._lock: int | None = None
        self._pending: deque[_Write[Any]] = deque()
        self.unscrubbed = False

    async def open(self) -> None:
        """Raises ValueError, naming the file, if it cannot be this service's database."""
        try:
            self._writer = await _Thread(self._connect).start()
            if not self._memory:
                self._reader = await _Thread(self._connect_reader).start()
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
            return cast("T", write.result)
        if _is_outage(write.error):
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
                await asyncio.sleep(_PAUSE)

    async def check(self) -> None:
        """Raises Unavailable unless the file can be written now."""
        await self.write(_touch, durable=False)

    async def scrub(self) -> None:
        """Removes what was deleted from the WAL too; is left for later while others read it."""
        self.unscrubbed = True
        await self.scrub_rest()

    async def scrub_rest(self) -> None:
        if self.unscrubbed:
            truncated = await self._open(self._writer).run(_truncate)
            self.unscrubbed = not truncated

    def _open(self, thread: _Thread | None) -> _Thread:
        if thread is None:
            raise Unavailable("the database is closed")
        return thread

    def _commit_pending(self, db: sqlite3.Connection) -> None:
        group = []
        while self._pending:
            group.append(self._pending.popleft())
        if not group:
            return
        error = _commit(db, group)
        if error is None:
            return
        for write in group:
            if len(group) == 1 or _is_outage(error):
                write.error = error
            else:
                write.error = _commit(db, [write])

    def _connect(self) -> sqlite3.Connection:
        if not self._memory:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(self._path)
            # Before SQLite makes it, with a mode that the WAL takes over: chats are private.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = _connected(self._path)
        try:
            _check_owner(db, self._path)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA secure_delete = ON")
            db.execute("PRAGMA foreign_keys = ON")
            _migrate(db)
        except BaseException:
            db.close()
            raise
        return db

    def _connect_reader(self) -> sqlite3.Connection:
        db = _connected(self._path)
        db.execute("PRAGMA query_only = ON")
        return db


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)


def _locked(path: Path) -> int:
    """The kernel lets go of the lock whatever ends the process."""
    file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise ValueError(f"{path} is in use by another process") from None
    return file


def _check_owner(db: sqlite3.Connection, path: Path) -> None:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if tables and application != APPLICATION_ID:
        raise ValueError(f"{path} is the database of another program")
    if version > len(STEPS):
        raise ValueError(
            f"{path} was written by a newer Sluice (version {version}, known: {len(STEPS)})"
        )


def _migrate(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    for step in STEPS[version:]:
        for statement in step:
            db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {len(STEPS)}")
    db.execute("COMMIT")


def _commit(db: sqlite3.Connection, group: list[_Write[Any]]) -> BaseException | None:
    """All or nothing; the error is what ended it."""
    durable = any(write.durable for write in group)
    try:
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        db.execute("BEGIN IMMEDIATE")
        for write in group:
            write.result = write.work(db)
        db.execute("COMMIT")
    except BaseException as error:  # noqa: BLE001 - each caller gets its own, in its own task
        if db.in_transaction:
            db.execute("ROLLBACK")
        return error
    return None


def _is_outage(error: BaseException) -> bool:
    """The file's fault, not the statement's."""
    return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError


def _touch(db: sqlite3.Connection) -> None:
    db.execute(f"PRAGMA user_version = {len(STEPS)}")


def _truncate(db: sqlite3.Connection) -> bool:
    """Does not wait long for who reads: nothing can be written meanwhile."""
    db.execute("PRAGMA busy_timeout = 100")
    try:
        (busy, _, _) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:
        return False
    finally:
        db.execute(f"PRAGMA busy_timeout = {_PATIENCE * 1000}")
    return not busy
