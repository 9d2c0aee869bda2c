"""Reading a job's log: the owner only, from any cursor, as far behind as a reader may be."""

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from sluice.application.ports import EventLogPort, Push, ReadersPort
from sluice.application.tally import Tally
from sluice.application.wire import coalesce
from sluice.domain.chat import Job, JobId, UserId
from sluice.domain.errors import Busy, NotFound
from sluice.domain.events import Cursor, Recorded


async def owned(log: EventLogPort, user: UserId, job_id: JobId) -> Job:
    """Raises NotFound for another user's job, like for one that never was."""
    job = await log.job(job_id)
    if job.user != user:
        raise NotFound(job_id)
    return job


class FollowJob:
    """`streams` bounds what one user may have open at once; None is no bound."""

    def __init__(
        self, log: EventLogPort, readers: ReadersPort, tally: Tally, *, streams: int | None = None
    ) -> None:
        self._log, self._readers, self._streams = log, readers, streams
        self._tally = tally
        self.open: Counter[UserId] = Counter()

    async def __call__(
        self, user: UserId, job_id: JobId, *, after: Cursor | None, push: Push | None = None
    ) -> AsyncGenerator[Sequence[Recorded], None]:
        """Yields what waits, coalesced, until the terminal event.

        Raises NotFound, Finished for the terminal event's cursor, and Busy.
        """
        await owned(self._log, user, job_id)
        batches = await self._log.follow(job_id, after=after, push=push)
        if self._streams is not None and self.open[user] >= self._streams:
            raise Busy("too many open streams", per_user=True)
        reading = self._read(user, job_id, batches)
        await anext(reading)  # counts from now on: many may be granted before one is read
        return reading

    async def _read(
        self, user: UserId, job_id: JobId, batches: AsyncGenerator[Sequence[Recorded], None]
    ) -> AsyncGenerator[Sequence[Recorded], None]:
        self.open[user] += 1
        self._readers.joined(job_id)
        try:
            async with aclosing(batches):
                yield ()
                async for batch in batches:
                    self._tally.behind(len(batch))
                    yield coalesce(batch)
        finally:
            self._readers.left(job_id)
            self.open[user] -= 1
            if not self.open[user]:
                del self.open[user]
