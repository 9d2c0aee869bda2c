"""The log in memory: for tests and `memory://`. Nothing survives the process."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from sluice.application.codec import require_encodable
from sluice.domain.chat import ChatId, Job, JobId, now
from sluice.domain.errors import NotFound
from sluice.domain.events import Cursor, Event, Recorded
from sluice.infrastructure.event_log.log import Attempt, Log, LogReader


class _Log(Log):
    __slots__ = ("_forget",)

    def __init__(self, job: Job, first: Recorded, forget: Callable[[], object]) -> None:
        super().__init__(job, [first])
        self._forget = forget

    async def end(self, records: Sequence[Recorded]) -> None:
        self.ended_at = now()
        self._forget()
        self.append(records)


class MemoryEventLog(LogReader):
    """`retention` seconds after its terminal event a job is forgotten."""

    def __init__(self, *, retention: float = 3600) -> None:
        super().__init__()
        self._retention = retention
        self._logs: dict[JobId, _Log] = {}

    async def create(self, job: Job, first: Event) -> None:
        if job.id not in self._logs:
            require_encodable(first)
            first_record = Recorded(Cursor(1, 1), first)
            self._logs[job.id] = _Log(job, first_record, lambda: self._forget_later(job.id))

    async def begin(
        self, job_id: JobId, *, after: int | None = None, goes_on: bool = False
    ) -> Attempt:
        log = await self._find(job_id)
        log.require_open(after)
        return log.begin(goes_on=goes_on and log.paused)

    async def unfinished(self, chat_id: ChatId | None = None) -> Sequence[Job]:
        return [
            log.job
            for log in self._logs.values()
            if not log.ended and chat_id in (None, log.job.chat_id)
        ]

    async def delete(self, chat_id: ChatId) -> None:
        for log in [log for log in self._logs.values() if log.job.chat_id == chat_id]:
            del self._logs[log.job.id]
            log.writer = None  # fences off who is still at it
            log.breaks(NotFound(log.job.id))

    async def _find(self, job_id: JobId) -> Log:
        try:
            return self._logs[job_id]
        except KeyError:
            raise NotFound(job_id) from None

    def _present(self) -> Iterable[Log]:
        return self._logs.values()

    def _forget_later(self, job_id: JobId) -> None:
        asyncio.get_running_loop().call_later(self._retention, self._logs.pop, job_id, None)
