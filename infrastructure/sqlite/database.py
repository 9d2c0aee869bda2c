"""One SQLite file in WAL mode: a thread that writes, a thread that reads. None in memory."""

import asyncio
import logging
import os
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from sluice.application.outages import Outage
from sluice.application.shielding import until_over
from sluice.domain.errors import Unavailable
from sluice.infrastructure.sqlite.connection import ConnectionThread, HereConnection, Work
from sluice.infrastructure.sqlite.file import connect, connect_reader, reserve, touch
from sluice.infrastructure.sqlite.group_commit import GroupCommit, Write, is_outage

logger = logging.getLogger(__name__)
T = TypeVar("T")

_RETRY_SECONDS = 0.5
"""Seconds between two tries while the file cannot be written."""
_QUICK_SECONDS = 0.0005
"""A sync of a few pages takes a third of it on a quick disk of a machine that is not busy."""
_LATE_SECONDS = 0.001
"""From then on a disk is not waited for that was quick the last time."""


class SqliteDatabase:
    """`path` may be `:memory:`. Nothing is touched before `open`.

    A store method that meets a full disk, a lock held by others or a broken file raises
    Unavailable; the next one tries again.
    """

    def __init__(self, path: str | Path) -> None:
        self._memory = str(path) == ":memory:"
        self._path = Path(path)
        self._writer: ConnectionThread | HereConnection | None = None
        self._reader: ConnectionThread | None = None
        self._lock: int | None = None
        self._commits = GroupCommit()
        self._outage = Outage(logger, f"{path} cannot be written", f"{path} can be written again")
        self.unscrubbed = False

    async def open(self) -> None:
        """Raises ValueError, naming the file, if it cannot be this service's database."""
        try:
            if self._memory:
                self._writer = await HereConnection(self._connect).start()
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
        self._commits.close()
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
        return await self.tried(Write(work, durable=durable))

    async def tried(self, write: Write[T]) -> T:
        """Like `write`; after Unavailable it can be tried again."""
        writer = self._open(self._writer)
        if isinstance(writer, HereConnection):
            writer.post(partial(self._commits.alone, write))
        else:
            self._commits.post(writer, write)
            await write.told
        return self._result(write)

    async def persist(self, work: Work[T], *, durable: bool = True) -> T:
        """Like `write`, but outlasts an outage: raises Unavailable only once closed."""
        write = Write(work, durable=durable)
        while True:
            try:
                return await self.tried(write)
            except Unavailable:
                if self._writer is None:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)

    async def committed(self, write: Write[T]) -> T:
        """Like `tried`, but does not wait long for the disk: `synced` does.

        A disk that was quick is waited for, as whoever waits for that too would else be kept by
        what is done meanwhile. Beside one that was not, that is done when it answers.
        """
        loop = asyncio.get_running_loop()
        waits = self._commits.sync_seconds < _QUICK_SECONDS
        if not waits:
            write.committed = loop.create_future()
        self._commits.post(self._open(self._writer), write)
        if waits and not await _over_within(write.told, _LATE_SECONDS):
            write.committed = loop.create_future()
        if write.committed is not None and not write.is_committed:  # it may be, unseen, meanwhile
            await write.committed
        return cast("T", write.result) if write.is_committed else self._result(write)

    async def synced(self, write: Write[Any]) -> None:
        """May be awaited by several, and again after Unavailable."""
        if not write.told.done():
            await asyncio.shield(write.told)
        if write.error is not None:
            await self.write(_nothing)  # one sync holds for all that was committed before

    async def check(self) -> None:
        """Raises Unavailable unless the file can be written now."""
        await self.write(touch, durable=False)
        self._outage.note(None)

    async def scrub(self) -> None:
        """Removes what was deleted from the WAL too; is left for later while others read it."""
        self.unscrubbed = True
        await self._scrub()

    async def scrub_rest(self) -> None:
        """And fills the WAL up: not behind each deletion, as it is 4 MiB to write."""
        await self._scrub()
        await self._open(self._writer).run(self._commits.prewrite_wal)

    async def _scrub(self) -> None:
        if self.unscrubbed:
            self.unscrubbed = not await self._open(self._writer).run(self._commits.truncate_wal)

    def _open(
        self, connection: ConnectionThread | HereConnection | None
    ) -> ConnectionThread | HereConnection:
        if connection is None:
            raise Unavailable("the database is closed")
        return connection

    def _result(self, write: Write[T]) -> T:
        if write.error is None:
            if write.changes:
                self._outage.note(None)
            return cast("T", write.result)
        if is_outage(write.error):
            self._outage.note(str(write.error))
            raise Unavailable("the database cannot be written") from write.error
        raise write.error

    def _connect(self) -> sqlite3.Connection:
        if not self._memory:
            self._lock = reserve(self._path)
        db = connect(self._path)
        self._commits.open(self._path)
        return db


async def _over_within(told: asyncio.Future[None], seconds: float) -> bool:
    over = until_over(told)
    timer = asyncio.get_running_loop().call_later(seconds, _release, over)
    try:
        await over
    finally:
        timer.cancel()
    return told.done()


def _release(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _nothing(_: sqlite3.Connection) -> None:
    """There is nothing to write, but what was written is to be durable."""
