"""The one writer of the SQLite log: what all jobs have said is committed together."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import micros, moment, now
from sluice.domain.errors import NotFound, Superseded, Unavailable
from sluice.domain.events import Recorded
from sluice.infrastructure.event_log.log import Log
from sluice.infrastructure.event_log.sqlite import rows
from sluice.infrastructure.sqlite.connection import Work
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.infrastructure.sqlite.group_commit import Write
from sluice.infrastructure.sqlite.joint_writes import JointWrites, run_each

logger = logging.getLogger(__name__)

_COMMIT_INTERVAL_S = 0.2
"""Seconds that tokens may wait for their commit: what a crash can take from a log. The attempt
that follows a crash resets the text anyway; half of it costs twice as much."""
_RETRY_DELAY_S = 0.5
"""Seconds between two tries while the database cannot be written."""


class StoredLog(Log):
    """A job's log, and what of it is not in the database yet. `key` is its job's there.

    `creation` may not be on the disk yet; `is_begun`: its first attempt was written with it.
    """

    __slots__ = (
        "_last_words",
        "_taken",
        "_told",
        "_writer",
        "creation",
        "deleted",
        "is_begun",
        "is_dirty",
        "key",
    )

    def __init__(self, writer: "Writer", stored: rows.Stored) -> None:
        super().__init__(
            stored.job,
            stored.records,
            stored.joined,
            attempt=stored.attempt,
            paused=stored.paused,
            ended_at=None if stored.ended_at is None else moment(stored.ended_at),
        )
        self.key = stored.key
        self.is_dirty = self.deleted = False
        self.creation: Write[Any] | None = None
        self.is_begun = False
        self._writer = writer
        self._taken = len(self.records)
        """How many of them are written, or about to be."""
        self._last_words: Sequence[Recorded] = ()
        self._told: asyncio.Future[None] | None = None

    def write(self, records: Sequence[Recorded]) -> None:
        """Readers see tokens before they are durable, but the end only afterwards."""
        if not self.is_dirty:
            self._writer.later(self)  # first: what it refuses nobody has seen
        self.append(records)

    def write_piece(self, piece: Recorded) -> None:
        if not self.is_dirty:
            self._writer.later(self)
        self.append_piece(piece)

    def take(self) -> Sequence[Recorded]:
        """What is to be written next."""
        taken, self._taken = self._taken, len(self.records)
        self.is_dirty = False
        return [*self.records[taken:], *self._last_words]

    @property
    def awaited(self) -> bool:
        """Somebody waits until what is pending is durable."""
        return self._told is not None

    async def flush(self) -> None:
        await self._committed(())

    async def pause(self, records: Sequence[Recorded]) -> None:
        await self._committed(records)

    async def end(self, records: Sequence[Recorded]) -> None:
        await self._committed(records)

    async def _committed(self, records: Sequence[Recorded]) -> None:
        self._last_words = records
        self._told = asyncio.get_running_loop().create_future()
        self._writer.at_once(self)
        await self._told

    def committed(self, ended_at: int | None) -> None:
        """What was awaited is in the database, also its end where it has one."""
        if not self.deleted:
            self.ended_at = None if ended_at is None else moment(ended_at)
            if self._last_words:  # behind which nothing has been said
                self.append(self._last_words)
                self._taken = len(self.records)
            self._tell(None)

    def delete(self) -> None:
        """Nothing more of it is written; its readers end with NotFound."""
        self.deleted = True
        self.writer = None
        self.breaks(NotFound(self.job.id))
        self.give_up(Superseded())

    def give_up(self, error: Exception) -> None:
        """What is awaited did not get into the database: whoever waits for that is told."""
        self._tell(error)

    def _tell(self, error: Exception | None) -> None:
        told, self._told, self._last_words = self._told, None, ()
        if told is None or told.done():
            return
        if error is None:
            told.set_result(None)
        else:
            told.set_exception(error)


class _Batch:
    """What is written at once: what some logs have pending, and what is `joined` with an end."""

    def __init__(self, logs: Sequence[StoredLog], joined: Sequence[Work[None]] = ()) -> None:
        self.logs, self.joined = logs, joined
        self.awaited = [log for log in logs if log.awaited]
        self.ending = {log: micros(now()) for log in logs if log.ending}
        self._said = [(log, log.take()) for log in logs]
        self._paused = [log.key for log in self.awaited if log.paused]

    def __call__(self, db: sqlite3.Connection) -> None:
        run_each(db, self.joined)
        kept = [(log, said) for log, said in self._said if said and not log.deleted]
        rows.insert(db, [row for log, said in kept for row in rows.rows(log.key, said)])
        for key in self._paused:
            rows.pause(db, key)
        for log, when in self.ending.items():
            rows.end(db, log.key, when)


class Writer:
    """Runs until `stop`. While the database is down it tries again and again, in order.

    `ended` is told of every log whose end is durable, before its readers are.
    """

    def __init__(
        self, database: SqliteDatabase, joint: JointWrites, ended: Callable[[StoredLog], None]
    ) -> None:
        self._database, self._joint, self._ended = database, joint, ended
        self._dirty: dict[StoredLog, None] = {}
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._all_due = self._stopping = False

    def later(self, log: StoredLog) -> None:
        """Raises Unavailable once it was stopped."""
        self._take(log)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_COMMIT_INTERVAL_S, self._ring)

    def at_once(self, log: StoredLog) -> None:
        """Raises Unavailable once it was stopped."""
        self._take(log)
        self._due.set()

    def _take(self, log: StoredLog) -> None:
        if self._stopping:
            raise Unavailable("the log is closed")
        self._dirty[log] = None
        log.is_dirty = True

    def stop(self) -> None:
        """`run` ends after one more try."""
        self._stopping = True
        self._ring()

    def _ring(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._all_due = None, True
        self._due.set()

    async def run(self) -> None:
        while not self._stopping or self._dirty:
            await self._due.wait()
            self._due.clear()
            await asyncio.gather(*map(self._commit, self._batches()))

    def _batches(self) -> Sequence[_Batch]:
        """One for all, but each by itself that could fail by what is joined with it.

        Tokens wait for their time also where another job cannot: ten ends a second would have all
        jobs' written twice as often.
        """
        all_due, self._all_due = self._all_due or self._stopping, False
        dirty = [log for log in self._dirty if all_due or log.awaited]
        for log in dirty:
            del self._dirty[log]
        joined = {log: self._joint.take(log.job.id) for log in dirty if log.ending}
        alone = [_Batch([log], works) for log, works in joined.items() if works]
        others = [log for log in dirty if not joined.get(log)]
        return [*alone, _Batch(others)] if others else alone

    async def _commit(self, batch: _Batch) -> None:
        try:
            await self._write(batch)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            if not batch.awaited:
                logger.error("a log could not be written: %s", format_traceback(error))
            for log in batch.awaited:
                log.give_up(error)
            return
        for log in batch.awaited:
            if log in batch.ending:
                self._ended(log)
            log.committed(batch.ending.get(log))

    async def _write(self, batch: _Batch) -> None:
        """Raises Unavailable only when stopping. Meanwhile readers are sent away."""
        write = Write(batch, durable=bool(batch.awaited))
        down: Unavailable | None = None
        while True:
            try:
                await self._database.tried(write)
                break
            except Unavailable as error:
                if self._stopping:
                    raise
                down = down or error
            for log in (*batch.logs, *self._dirty):
                if log.broken is None:
                    log.breaks(down)
            await asyncio.sleep(_RETRY_DELAY_S)
        if down is not None:
            for log in (*batch.logs, *self._dirty):
                if log.broken is down:
                    log.broken = None
