"""The log in SQLite: what runs is read from memory, what is over is loaded and shared."""

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from weakref import WeakValueDictionary

from sluice.application.background import survives
from sluice.application.codec import require_encodable
from sluice.application.ports import JobLog
from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import ChatId, Job, JobId, micros, now
from sluice.domain.errors import NotFound, Superseded, Unavailable
from sluice.domain.events import Cursor, Event, Recorded
from sluice.infrastructure.event_log.log import Attempt, Log, LogReader
from sluice.infrastructure.event_log.sqlite import rows
from sluice.infrastructure.event_log.sqlite.writer import StoredLog, Writer
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.infrastructure.sqlite.group_commit import Write
from sluice.infrastructure.sqlite.joint_writes import JointWrites, run_each

logger = logging.getLogger(__name__)

_RECENT_LOGS = 16
"""Logs that are over but stay in memory without a reader: a page is often reloaded."""
_SWEEP_INTERVAL_S = 60
_SWEEP_JOBS = 100


class SqliteEventLog(LogReader):
    """`retention`: seconds that a log can be read after its end. Open the database first.

    A store error ends the readers of the running jobs in Unavailable and holds their end back;
    nothing else is noticed of it once it has passed.
    """

    def __init__(
        self,
        database: SqliteDatabase,
        *,
        retention: float = 3600,
        joint: JointWrites | None = None,
    ) -> None:
        super().__init__()
        self._database, self._joint = database, joint or JointWrites()
        self._retention = timedelta(seconds=retention)
        self._writer = Writer(database, self._joint, self._over)
        self._logs: WeakValueDictionary[JobId, StoredLog] = WeakValueDictionary()
        self._running: dict[JobId, StoredLog] = {}
        self._recent: deque[StoredLog] = deque(maxlen=_RECENT_LOGS)
        self._loading: dict[JobId, asyncio.Task[StoredLog]] = {}
        self._deletions = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        self._tasks = [asyncio.create_task(self._writer.run()), asyncio.create_task(self._sweeps())]

    async def aclose(self) -> None:
        """Everything published is in the database when this returns, if it can be written."""
        self._writer.stop()
        for task in self._tasks[1:]:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def check(self) -> None:
        await self._database.check()

    async def create(self, job: Job, first: Event, *, begins: bool = False) -> None:
        joined = self._joint.take_creation(job.id)
        if job.id in self._logs and not joined.works:
            return
        require_encodable(first)
        recorded = Recorded(Cursor(1, 1), first)

        def work(db: sqlite3.Connection) -> int | None:
            run_each(db, joined.works)
            return rows.insert_job(db, job, recorded, attempt=int(begins))

        write = Write(work, durable=True)
        key = await (self._database.committed if begins else self._database.tried)(write)
        joined.committed()
        if key is not None and job.id not in self._logs:
            stored = rows.Stored(key, job, 0, ended_at=None, records=[recorded])
            log = StoredLog(self._writer, stored)
            if begins:
                log.creation, log.is_begun = write, True
            self._keep(log)

    async def settle(self, job_id: JobId) -> None:
        log = self._logs.get(job_id)
        if log is not None and log.creation is not None:
            await self._database.synced(log.creation)
            log.creation = None

    async def read(self, job_id: JobId) -> JobLog:
        await self.settle(job_id)
        return await super().read(job_id)

    async def _followed(self, job_id: JobId) -> Log:
        await self.settle(job_id)
        return await super()._followed(job_id)

    async def begin(
        self, job_id: JobId, *, after: int | None = None, goes_on: bool = False
    ) -> Attempt:
        log = await self._find(job_id)
        log.require_open(after)
        if log.is_begun:
            log.is_begun = goes_on = False
        else:
            goes_on = goes_on and log.paused
            await self._persist_attempt(log, goes_on=goes_on)
        self._joint.expect_end(job_id)
        return log.begin(goes_on=goes_on)

    async def _persist_attempt(self, log: StoredLog, *, goes_on: bool) -> None:
        before, begin = log.attempt, rows.go_on if goes_on else rows.next_attempt
        begun = await self._database.persist(lambda db: begin(db, log.key, before))
        log.require_open(before)  # it may have ended meanwhile, or another one has begun
        if goes_on and not log.paused:
            raise Superseded
        if not begun or log.deleted:
            raise NotFound(log.job.id)

    async def unfinished(self, chat_id: ChatId | None = None) -> Sequence[Job]:
        return await self._database.read(lambda db: rows.unfinished(db, chat_id))

    async def delete(self, chat_id: ChatId) -> None:
        self._drop(chat_id)
        await self._database.write(lambda db: rows.delete_of_chat(db, chat_id))
        self._deletions += 1
        self._drop(chat_id)  # what was created or loaded meanwhile
        await self._database.scrub()

    async def sweep(self) -> None:
        """Deletes the logs past their retention."""
        before = micros(now() - self._retention)
        while await self._database.write(
            lambda db: rows.delete_expired(db, before, _SWEEP_JOBS), durable=False
        ):
            self._database.unscrubbed = True
        await self._database.scrub_rest()

    async def _sweeps(self) -> None:
        while True:
            await survives(self._swept(), "deleting expired logs")
            await asyncio.sleep(_SWEEP_INTERVAL_S)

    async def _swept(self) -> None:
        try:
            await self.sweep()
        except Unavailable as error:
            logger.warning("expired logs could not be deleted: %s", format_traceback(error))

    async def _find(self, job_id: JobId) -> StoredLog:
        log = self._logs.get(job_id)
        if log is None:
            log = await self._loaded(job_id)
        if log.ended_at is not None and log.ended_at + self._retention < now():
            raise NotFound(job_id)
        return log

    async def _loaded(self, job_id: JobId) -> StoredLog:
        """All who ask at once share one load, which outlives any of them."""
        loading = self._loading.get(job_id)
        if loading is None:
            loading = self._loading[job_id] = asyncio.create_task(self._load(job_id))
            loading.add_done_callback(lambda _: self._loading.pop(job_id))
        return await asyncio.shield(loading)

    async def _load(self, job_id: JobId) -> StoredLog:
        deletions = -1
        while deletions != self._deletions:
            deletions = self._deletions
            found = await self._database.read(lambda db: rows.load(db, job_id))
        if found is None:
            raise NotFound(job_id)
        log = self._logs.get(job_id)
        if log is None:
            log = StoredLog(self._writer, found)
            self._keep(log)
        return log

    def _keep(self, log: StoredLog) -> None:
        self._logs[log.job.id] = log
        if log.ended_at is None:
            self._running[log.job.id] = log
        else:
            self._recent.append(log)

    def _over(self, log: StoredLog) -> None:
        if self._running.pop(log.job.id, None) is not None:
            self._recent.append(log)

    def _drop(self, chat_id: ChatId) -> None:
        for log in [log for log in self._logs.values() if log.job.chat_id == chat_id]:
            log.delete()
            self._joint.take(log.job.id)
            del self._logs[log.job.id]
            self._running.pop(log.job.id, None)
        self._recent = deque((log for log in self._recent if not log.deleted), _RECENT_LOGS)

    def _present(self) -> Iterable[StoredLog]:
        return self._logs.values()
