"""What waits to be written, as one transaction; and behind it the sync that makes it durable.

A commit hands what was written to the operating system, which a killed process takes nothing from.
The disk has it once the WAL is synced: that is done here, behind the commit, and not by SQLite
within it, so that whoever need not wait for the disk goes on meanwhile. The WAL is in order: one
sync holds for all that was committed before.
"""

import asyncio
import logging
import os
import sqlite3
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Generic, TypeVar

from sluice.infrastructure.sqlite.connection import ConnectionThread, HereConnection, Work
from sluice.infrastructure.sqlite.file import (
    LOCK_TIMEOUT_SECONDS,
    open_wal,
    prewrite,
    sync,
    truncate_wal,
)

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Write(Generic[T]):
    """What is committed is not done again, however often the disk must be tried.

    `committed` is awaited by who goes on before the disk has it, `told` by everybody else; then
    there is a result, or an error. `changes` counts rows: without any the file was not written.
    """

    __slots__ = (
        "changes",
        "committed",
        "durable",
        "error",
        "is_committed",
        "result",
        "told",
        "work",
    )

    def __init__(self, work: Work[T], *, durable: bool) -> None:
        self.work, self.durable = work, durable
        self.committed: asyncio.Future[None] | None = None
        self.told: asyncio.Future[None]
        self.is_committed = False
        self.changes = 0
        self.result: T | None = None
        self.error: BaseException | None = None


class GroupCommit:
    """`post` is the event loop's, all else the thread's that owns the connection."""

    def __init__(self) -> None:
        self.lock_timeout = LOCK_TIMEOUT_SECONDS
        self._lock_timeout_set: int | None = None
        self._waiting: deque[Write[Any]] = deque()
        self._is_posted = False
        self._wal: int | None = None
        self._wal_is_lost = False
        self.sync_seconds = 0.0
        """Of the last sync that nobody went on beside: he may keep its thread from running."""

    def open(self, path: Path) -> None:
        """Behind the connection."""
        self._lock_timeout_set = None
        self._wal = open_wal(path)

    def close(self) -> None:
        wal, self._wal = self._wal, None
        if wal is not None:
            os.close(wal)

    def post(self, writer: ConnectionThread | HereConnection, write: Write[Any]) -> None:
        write.told = asyncio.get_running_loop().create_future()
        write.error = None
        self._waiting.append(write)
        if not self._is_posted:
            self._is_posted = True
            writer.post(partial(self._write, writer))

    def alone(self, write: Write[Any], db: sqlite3.Connection) -> None:
        """In memory, where nobody else writes meanwhile and nothing is synced."""
        self._commit_each(db, [write])

    def truncate_wal(self, db: sqlite3.Connection) -> bool:
        self._lock_timeout_set = None  # it sets what it needs, too
        return truncate_wal(db)

    def prewrite_wal(self, db: sqlite3.Connection) -> None:
        if self._wal is not None:
            prewrite(db, self._wal)

    def _write(self, writer: ConnectionThread | HereConnection, db: sqlite3.Connection) -> None:
        self._is_posted = False  # first: what comes from now on may be too late for this group
        group = list[Write[Any]]()
        while self._waiting:
            group.append(self._waiting.popleft())
        if not group:
            return
        self._commit_each(db, group)
        unsynced = [write for write in group if write.durable and write.error is None]
        goes_on = any(write.committed for write in unsynced)
        if len(unsynced) < len(group) or goes_on:
            writer.tell(_tell_committed, group)
        if unsynced:
            began = perf_counter()
            error = self._synced(db)
            if not goes_on:
                self.sync_seconds = perf_counter() - began
            for write in unsynced:
                write.error = error
            writer.tell(_tell, unsynced)

    def _commit_each(self, db: sqlite3.Connection, group: Sequence[Write[Any]]) -> None:
        error = self._commit(db, group)
        # While a lock lasts only the first waits for it: the others would wait behind each other.
        self.lock_timeout = 0 if error is not None and is_outage(error) else LOCK_TIMEOUT_SECONDS
        if error is not None:
            for write in group:
                alone = len(group) == 1 or is_outage(error)
                write.error = error if alone else self._commit(db, [write])

    def _commit(self, db: sqlite3.Connection, group: Sequence[Write[Any]]) -> BaseException | None:
        """All or nothing; the error is what ended it."""
        try:
            if self.lock_timeout != self._lock_timeout_set:
                db.execute(f"PRAGMA busy_timeout = {1000 * self.lock_timeout}")
                self._lock_timeout_set = self.lock_timeout
            db.execute("BEGIN IMMEDIATE")
            for write in group:
                if not write.is_committed:
                    before = db.total_changes
                    write.result = write.work(db)
                    write.changes = db.total_changes - before
            db.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - each caller gets its own, in its own task
            try:
                if db.in_transaction:
                    db.execute("ROLLBACK")
            except sqlite3.Error as worse:
                return worse
            return error
        for write in group:
            write.is_committed = True
        return None

    def _synced(self, db: sqlite3.Connection) -> BaseException | None:
        """Has all that was committed reach the disk; the error is why it has not."""
        if self._wal is None:
            return None
        try:
            if not self._wal_is_lost:
                sync(self._wal)
                return None
        except OSError as error:
            logger.error("the WAL cannot be synced: %s", error.strerror)
        # What the kernel could not write it takes for written: a checkpoint writes it elsewhere.
        try:
            self._wal_is_lost = not self.truncate_wal(db)
        except sqlite3.Error as error:
            self._wal_is_lost = True
            return error
        return sqlite3.OperationalError("the WAL is not synced") if self._wal_is_lost else None


def _tell_committed(group: Sequence[Write[Any]]) -> None:
    """Whoever does not wait for the disk, or does in vain."""
    for write in group:
        if write.committed is not None and not write.committed.done():
            write.committed.set_result(None)
        if not write.durable or write.error is not None:
            _tell([write])


def _tell(group: Sequence[Write[Any]]) -> None:
    for write in group:
        if not write.told.done():
            write.told.set_result(None)


def is_outage(error: BaseException) -> bool:
    """The file's fault, not the statement's."""
    return isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError
