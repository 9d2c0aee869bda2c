"""Jobs that nobody reads: kept running, or cancelled after a while, as the operator chose."""

import asyncio
from collections import Counter
from contextlib import aclosing, suppress

from sluice.application.ports import EventLogPort, JobQueuePort
from sluice.domain.chat import JobId
from sluice.domain.errors import NotFound, Unavailable
from sluice.domain.events import QUEUED, NeedsInput, Recorded, Reset

_RETRY_S = 0.5
"""Between two tries while the log cannot be read."""


class CancelUnread:
    """The ReadersPort of a process that has all the readers and all the jobs.

    `after`: seconds without a reader until a job is cancelled; None lets it run.

    They count from the last reader's leaving, and for a job never read from its start. While a job
    waits for a human they do not count: they begin anew when it goes on.
    """

    def __init__(
        self, queue: JobQueuePort, log: EventLogPort, *, after: float | None = None
    ) -> None:
        self._queue, self._log, self._after = queue, log, after
        self._readers: Counter[JobId] = Counter()
        self._waits: dict[JobId, asyncio.Task[None]] = {}

    def submitted(self, job_id: JobId) -> None:
        if job_id not in self._readers:
            self._wait(job_id, started=False)

    def joined(self, job_id: JobId) -> None:
        self._readers[job_id] += 1
        if wait := self._waits.pop(job_id, None):
            wait.cancel()

    def left(self, job_id: JobId) -> None:
        self._readers[job_id] -= 1
        if not self._readers[job_id]:
            del self._readers[job_id]
            self._wait(job_id, started=True)

    def _wait(self, job_id: JobId, *, started: bool) -> None:
        if self._after is None or job_id in self._waits:
            return
        wait = asyncio.create_task(self._abandon(job_id, self._after, started=started))
        self._waits[job_id] = wait
        wait.add_done_callback(lambda _: self._waited(job_id, wait))

    def _waited(self, job_id: JobId, wait: asyncio.Task[None]) -> None:
        if self._waits.get(job_id) is wait:  # not the one that has begun since
            del self._waits[job_id]

    async def _abandon(self, job_id: JobId, after: float, *, started: bool) -> None:
        with suppress(NotFound):  # gone already
            while not await self._ends(job_id, after, started=started):
                with suppress(Unavailable):
                    await self._queue.cancel(job_id, "orphaned")
                    return

    async def _ends(self, job_id: JobId, within: float, *, started: bool) -> bool:
        """Within so many seconds from now, or from its first event if it has not started."""
        while True:
            try:
                await self._over(job_id, within, started=started)
            except TimeoutError:
                return False
            except Unavailable:  # and back in a moment: then it is counted anew
                await asyncio.sleep(_RETRY_S)
            else:
                return True

    async def _over(self, job_id: JobId, within: float, *, started: bool) -> None:
        """Returns when it is; raises TimeoutError."""
        async with (
            asyncio.timeout(within if started else None) as left,
            aclosing(await self._log.follow(job_id, after=None)) as batches,
        ):
            async for batch in batches:
                for recorded in batch:
                    if isinstance(recorded.event, NeedsInput):
                        left.reschedule(None)
                    elif left.when() is None and _is_start(recorded):
                        left.reschedule(asyncio.get_running_loop().time() + within)


def _is_start(recorded: Recorded) -> bool:
    return recorded.event != QUEUED and not isinstance(recorded.event, Reset)
