"""Jobs that nobody reads: kept running, or cancelled after a while, as the operator chose."""

import asyncio
from collections import Counter

from application.ports import JobQueuePort
from domain.chat import JobId


class Orphans:
    """`after`: seconds without a reader until a job is cancelled; None lets it run."""

    def __init__(self, queue: JobQueuePort, *, after: float | None = None) -> None:
        self._queue, self._after = queue, after
        self._readers: Counter[JobId] = Counter()
        self._timers: dict[JobId, asyncio.TimerHandle] = {}
        self._cancelling: set[asyncio.Task[None]] = set()

    def submitted(self, job_id: JobId) -> None:
        if self._after is not None and job_id not in self._readers:
            self._arm(job_id, self._after)

    def joined(self, job_id: JobId) -> None:
        self._readers[job_id] += 1
        if timer := self._timers.pop(job_id, None):
            timer.cancel()

    def left(self, job_id: JobId) -> None:
        self._readers[job_id] -= 1
        if not self._readers[job_id]:
            del self._readers[job_id]
            if self._after is not None:
                self._arm(job_id, self._after)

    def _arm(self, job_id: JobId, after: float) -> None:
        if timer := self._timers.pop(job_id, None):
            timer.cancel()
        loop = asyncio.get_running_loop()
        self._timers[job_id] = loop.call_later(after, self._cancel, job_id)

    def _cancel(self, job_id: JobId) -> None:
        del self._timers[job_id]
        task = asyncio.ensure_future(self._queue.cancel(job_id, "orphaned"))
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)
