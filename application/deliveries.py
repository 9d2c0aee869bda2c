"""What the readers of this process are handed, noted once a job: the rollout's half that no worker
can know. A token that is pushed costs one look at the clock, however many read it.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import NoReturn
from weakref import WeakValueDictionary

from sluice.application.background import survives
from sluice.application.metrics import JobMetrics
from sluice.application.outcomes import OutcomesPort
from sluice.domain.chat import Job, JobId, now
from sluice.domain.errors import NotFound, Unavailable
from sluice.domain.events import QUEUED, TERMINAL, Done, NeedsInput, Recorded, Reset, Token
from sluice.domain.outcome import Delivered

logger = logging.getLogger(__name__)

_INTERVAL_SECONDS = 0.5
"""The guard waits longer than that for what a job's readers were handed."""
_FORGET_SECONDS = 600.0
_LIVE = timedelta(minutes=1)
"""Who began to read later than that after the question is in no metric."""
_MOST_WAITING = 10_000
"""Jobs, while the store is away; the oldest are dropped."""


class Delivery:
    """One job's, over its readers in this process; `readers` is how many there are now.

    `waited`: they have seen a question to a human. What comes behind it is no first character, and
    the time until it comes is no gap.
    """

    __slots__ = (
        *("__weakref__", "_last", "began", "counted", "first_at"),
        *("job", "longest_gap", "readers", "seen", "waited"),
    )

    def __init__(self, job: Job) -> None:
        self.job, self.began = job, now()
        self.first_at: datetime | None = None
        self.longest_gap: float | None = None
        self.seen = self.counted = self.waited = False
        self.readers = 0
        self._last: float | None = None

    def token(self) -> None:
        """Some of the answer was handed to whoever keeps up."""
        at, last = monotonic(), self._last
        self._last = at
        if last is None:
            self.seen = True
            self._begins()
        elif self.longest_gap is None or at - last > self.longest_gap:
            self.longest_gap = at - last

    def batch(self, events: Sequence[Recorded]) -> None:
        """So many events at once are handed to one reader."""
        told = False
        for _, event in events:
            if type(event) is Token:
                if not told:
                    told = True
                    self.token()
            elif isinstance(event, NeedsInput):
                told, self.seen, self.waited = False, True, True
                self.pauses()
            elif isinstance(event, TERMINAL):
                self.seen = True
                if isinstance(event, Done) and event.answer:
                    self._begins()
            elif event != QUEUED and not isinstance(event, Reset):
                self.seen = True

    def pauses(self) -> None:
        """Nobody reads: the time until somebody does is no gap."""
        self._last = None

    def _begins(self) -> None:
        if self.first_at is None and not self.waited:
            self.first_at = now()


class Reading:
    """To be entered; a generator would be kept for each reader."""

    __slots__ = ("_delivery", "_note")

    def __init__(self, delivery: Delivery, note: Callable[[Delivery], None]) -> None:
        self._delivery, self._note = delivery, note

    def __enter__(self) -> None:
        self._delivery.readers += 1

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        delivery = self._delivery
        delivery.readers -= 1
        if not delivery.readers:
            delivery.pauses()
            if delivery.seen or not isinstance(error, (Unavailable, NotFound)):
                self._note(delivery)


class Deliveries:
    """`retention`: seconds after which outcomes are forgotten, with what was delivered."""

    def __init__(self, outcomes: OutcomesPort, metrics: JobMetrics, *, retention: float) -> None:
        self._outcomes, self._metrics = outcomes, metrics
        self._retention = timedelta(seconds=retention)
        self._open: WeakValueDictionary[JobId, Delivery] = WeakValueDictionary()
        self._waiting: dict[JobId, Delivered] = {}
        self._forgot: float | None = None

    def of(self, job: Job) -> Delivery:
        """The one of all who read the job now."""
        delivery = self._open.get(job.id)
        if delivery is None:
            delivery = self._open[job.id] = Delivery(job)
        return delivery

    def reading(self, delivery: Delivery) -> "Reading":
        """While one reader reads. One that the service has sent away has not left by itself."""
        return Reading(delivery, self._note)

    async def keep(self) -> NoReturn:
        """Writes down what there is again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            await survives(self._write(), "writing what readers were handed")
            while len(self._waiting) > _MOST_WAITING:
                del self._waiting[next(iter(self._waiting))]

    async def _write(self) -> None:
        await self.flush()
        await self._forget()

    async def flush(self) -> None:
        """Raises Unavailable; then it waits for the next time."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, {}
        try:
            await self._outcomes.keep_delivered(list(waiting.values()))
        except BaseException:
            self._waiting = {**waiting, **self._waiting}
            raise

    def _note(self, delivery: Delivery) -> None:
        job_id = delivery.job.id
        new = Delivered(job_id, delivery.first_at, delivery.longest_gap, delivery.seen)
        if not delivery.counted:
            self._count(delivery)
        known = self._waiting.get(job_id)
        self._waiting[job_id] = new if known is None else joined(known, new)

    def _count(self, delivery: Delivery) -> None:
        """Once a job, and not where somebody looks an old answer up."""
        job, metrics, delivery.counted = delivery.job, self._metrics, True
        if delivery.began - job.created_at > _LIVE:
            return
        metrics.left_early[job.path] += not delivery.seen
        if delivery.first_at is not None:
            took = delivery.first_at - job.created_at
            metrics.first_character[job.path].add(took.total_seconds())
        if delivery.longest_gap is not None:
            metrics.longest_gap[job.path].add(delivery.longest_gap)

    async def _forget(self) -> None:
        at = monotonic()
        if self._forgot is None or at - self._forgot > _FORGET_SECONDS:
            self._forgot = at
            await self._outcomes.forget(now() - self._retention)


def joined(one: Delivered, other: Delivered) -> Delivered:
    """Of the same job: the earliest first character, the longest gap."""
    firsts = [each.first_at for each in (one, other) if each.first_at is not None]
    gaps = [each.longest_gap for each in (one, other) if each.longest_gap is not None]
    return Delivered(
        one.job_id,
        min(firsts, default=None),
        max(gaps, default=None),
        one.seen or other.seen,
    )
