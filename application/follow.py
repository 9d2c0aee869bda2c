"""Reading a job's log: the owner only, from any cursor, as far behind as a reader may be."""

from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

from sluice.application.deliveries import Deliveries, Delivery
from sluice.application.encoding import Batch, EncoderFor, Push
from sluice.application.metrics import JobMetrics
from sluice.application.ports import EventLogPort, ReadersPort
from sluice.application.spans import NoSpans, SpansPort
from sluice.domain.chat import Job, JobId, UserId
from sluice.domain.errors import LimitReached, NotFound
from sluice.domain.events import Cursor


async def owned(log: EventLogPort, user: UserId, job_id: JobId) -> Job:
    """Raises NotFound for another user's job, like for one that never was."""
    job = await log.job(job_id)
    if job.user != user:
        raise NotFound(job_id)
    return job


class FollowJob:
    """`streams` bounds what one user may have open at once; None is no bound."""

    def __init__(
        self,
        log: EventLogPort,
        readers: ReadersPort,
        metrics: JobMetrics,
        deliveries: Deliveries,
        *,
        streams: int | None = None,
        spans: SpansPort | None = None,
    ) -> None:
        self._log, self._readers, self._streams = log, readers, streams
        self._spans = spans or NoSpans()
        self._metrics, self._deliveries = metrics, deliveries
        self.open: Counter[UserId] = Counter()

    async def __call__(
        self,
        user: UserId,
        job_id: JobId,
        *,
        after: Cursor | None,
        encoder_for: EncoderFor,
        skip: int = 0,
        push: Push | None = None,
        reserved: bool = False,
    ) -> AsyncGenerator[Batch, None]:
        """Yields what waits, until the terminal event; `skip` and `push` as the log has them.

        `reserved`: within `reserve`, so that there is room. Raises NotFound, Finished for the
        terminal event's cursor, and LimitReached.
        """
        job = await owned(self._log, user, job_id)
        encoder, delivery = encoder_for(job), self._deliveries.of(job)
        batches = await self._log.follow_encoded(
            job_id, after=after, encoder=encoder, skip=skip, push=push, handed=delivery.token
        )
        if not reserved:
            self._check(user)
        reading = self._read(user, job_id, batches, delivery)
        await anext(reading)  # counts from now on: many may be granted before one is read
        return reading

    @contextmanager
    def reserve(self, user: UserId) -> Iterator[None]:
        """Keeps room for a stream while its job is taken. Raises LimitReached."""
        self._check(user)
        self._count(user, 1)
        try:
            yield
        finally:
            self._count(user, -1)

    def _check(self, user: UserId) -> None:
        if self._streams is not None and self.open[user] >= self._streams:
            raise LimitReached("too many open streams", per_user=True)

    def _count(self, user: UserId, more: int) -> None:
        self.open[user] += more
        if not self.open[user]:
            del self.open[user]

    async def _read(
        self,
        user: UserId,
        job_id: JobId,
        batches: AsyncGenerator[Batch, None],
        delivery: Delivery,
    ) -> AsyncGenerator[Batch, None]:
        self._count(user, 1)
        try:
            self._readers.joined(job_id)
            try:
                async with aclosing(batches):
                    yield Batch((), b"", 0)
                    with self._spans.delivery(delivery.job), self._deliveries.reading(delivery):
                        async for batch in batches:
                            self._metrics.behind(batch.waiting)
                            delivery.batch(batch.events)
                            yield batch
            finally:
                self._readers.left(job_id)
        finally:
            self._count(user, -1)
