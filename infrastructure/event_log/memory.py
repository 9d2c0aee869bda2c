"""The log in memory: for tests and `memory://`. Nothing survives the process."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from sluice.application.coalescing import join
from sluice.application.codec import require_encodable
from sluice.domain.chat import ChatId, Job, JobId, now
from sluice.domain.errors import NotFound
from sluice.domain.events import Cursor, Event, Recorded
from sluice.infrastructure.event_log.log import Attempt, Log, LogReader


class _Log(Log):
    __slots__ = ("_over",)

    def __init__(self, job: Job, first: Recorded, over: Callable[[Log], object]) -> None:
        super().__init__(job, [first])
        self._over = over

    async def end(self, records: Sequence[Recorded]) -> None:
        self.ended_at = now()
        self.append(records)
        self._over(self)


class MemoryEventLog(LogReader):
    """`retention` seconds after its terminal event a job is forgotten.

    `joined_after` seconds its tokens are joined, for as objects of their own they take sixteen
    times the memory: who comes then is told them as one who is behind, and who reads already goes
    on in the log that it has.
    """

    def __init__(self, *, retention: float = 3600, joined_after: float = 5) -> None:
        super().__init__()
        self._retention, self._joined_after = retention, joined_after
        self._logs: dict[JobId, Log] = {}

    async def create(self, job: Job, first: Event, *, begins: bool = False) -> None:
        if job.id not in self._logs:
            require_encodable(first)
            first_record = Recorded(Cursor(1, 1), first)
            self._logs[job.id] = _Log(job, first_record, self._over)

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

    def _over(self, log: Log) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(self._joined_after, self._join, log)
        loop.call_later(self._retention, self._logs.pop, log.job.id, None)

    def _join(self, log: Log) -> None:
        if self._logs.get(log.job.id) is log:
            told = join(log.records)
            kept = Log(log.job, *told, attempt=log.attempt, ended_at=log.ended_at)
            self._logs[log.job.id] = kept
