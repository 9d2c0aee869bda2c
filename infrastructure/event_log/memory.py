"""The log in memory: for tests and `memory://`. Nothing survives the process."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from application.ports import JobLog
from application.wire import record
from domain.chat import ChatId, Job, JobId, now
from domain.errors import NotFound, Superseded, Unavailable
from domain.events import Cursor, Event, Recorded
from infrastructure.event_log.tail import Tail


@dataclass(slots=True, eq=False)
class _Log:
    job: Job
    tail: Tail = field(default_factory=Tail)
    attempt: int = 0
    ended_at: datetime | None = None


class MemoryEventLog:
    """`retention` seconds after its terminal event a job is forgotten."""

    def __init__(self, *, retention: float = 3600) -> None:
        self._retention = retention
        self._logs: dict[JobId, _Log] = {}
        self._leaving = False

    async def create(self, job: Job, first: Event) -> None:
        if job.id not in self._logs:
            self._logs[job.id] = _Log(job, Tail([record(Cursor(1, 1), first)]))

    async def begin(self, job_id: JobId) -> "MemoryAttempt":
        log = self._find(job_id)
        if log.tail.ended:
            raise Superseded
        log.attempt += 1
        return MemoryAttempt(log, lambda: self._ended(job_id))

    async def job(self, job_id: JobId) -> Job:
        return self._find(job_id).job

    async def read(self, job_id: JobId) -> JobLog:
        log = self._find(job_id)
        return JobLog(log.job, log.tail.records, log.ended_at)

    async def follow(
        self, job_id: JobId, *, after: Cursor | None
    ) -> AsyncGenerator[Sequence[Recorded], None]:
        if self._leaving:
            raise Unavailable("the service is shutting down")
        return self._find(job_id).tail.follow(after)

    async def unfinished(self, chat_id: ChatId | None = None) -> Sequence[Job]:
        return [
            log.job
            for log in self._logs.values()
            if not log.tail.ended and chat_id in (None, log.job.chat_id)
        ]

    async def delete(self, chat_id: ChatId) -> None:
        for log in [log for log in self._logs.values() if log.job.chat_id == chat_id]:
            del self._logs[log.job.id]
            log.attempt += 1  # fences a writer that is still at it
            log.tail.breaks(NotFound(log.job.id))

    def hang_up(self) -> None:
        self._leaving = True
        for log in self._logs.values():
            log.tail.breaks(Unavailable("the service is shutting down"))

    def _find(self, job_id: JobId) -> _Log:
        try:
            return self._logs[job_id]
        except KeyError:
            raise NotFound(job_id) from None

    def _ended(self, job_id: JobId) -> None:
        self._logs[job_id].ended_at = now()
        asyncio.get_running_loop().call_later(self._retention, self._logs.pop, job_id, None)


class MemoryAttempt:
    def __init__(self, log: _Log, ended: Callable[[], object]) -> None:
        self._log, self._ended = log, ended
        self.attempt = log.attempt
        self._seq = log.tail.last.seq if self.attempt == 1 else 0

    async def publish(self, *events: Event) -> None:
        log = self._log
        if log.attempt != self.attempt or log.tail.ended:
            raise Superseded
        seq = self._seq
        log.tail.append(
            [record(Cursor(self.attempt, seq + n), event) for n, event in enumerate(events, 1)]
        )
        self._seq = seq + len(events)
        if log.tail.ended:
            self._ended()
