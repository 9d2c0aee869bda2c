"""A worker: runs the jobs it is given, each in a task of its own, until their logs have ended."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from typing import TypeVar

from coredis.exceptions import RedisError

from sluice.application.ports import EventLogPort
from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import JobId
from sluice.domain.errors import NotFound, Superseded, Unavailable
from sluice.domain.events import CancelReason
from sluice.infrastructure.jobs.redis.deliveries import LEASE, Deliveries, Lease
from sluice.infrastructure.jobs.redis.places import Given, Places
from sluice.infrastructure.jobs.shared import Bounds, Run, stop

logger = logging.getLogger(__name__)
T = TypeVar("T")

_BEAT = 0.5
_PAUSE = 0.5
"""Seconds between two tries while Redis is down."""
_ENDS = 8
"""Deliveries beyond the slots, for jobs that are cancelled before they ran."""


class _Running:
    """`why` it is cancelled; without one, a cancelled run is handed back."""

    def __init__(self, job_id: JobId, why: CancelReason | None) -> None:
        self.job_id, self.why = job_id, why
        self.task: asyncio.Task[None] | None = None

    def cancel(self, reason: CancelReason) -> None:
        if self.why is None:
            self.why = reason
            self.stop()

    def stop(self) -> None:
        if self.task is not None:
            stop(self.task)


class JobWorker:
    """`bounds.running` is how many jobs this worker runs at once.

    `orphaned_after`: seconds without a reader until a job, here or elsewhere, is cancelled.
    """

    def __init__(
        self,
        url: str,
        places: Places,
        log: EventLogPort,
        run: Run,
        bounds: Bounds,
        *,
        orphaned_after: float | None = None,
    ) -> None:
        self._url, self._places, self._log = url, places, log
        self._run, self._bounds, self._orphaned_after = run, bounds, orphaned_after
        self._name = secrets.token_hex(8)
        self._running: set[_Running] = set()
        self._deliveries: Deliveries | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._draining = False

    @property
    def running(self) -> int:
        return len(self._running)

    async def run(self) -> None:
        """Until `drain`, or until it crashes."""
        works = (self._accept(), self._beats(), self._listen())
        self._tasks = [asyncio.create_task(work) for work in works]
        await asyncio.gather(*self._tasks)

    async def drain(self, grace: float) -> None:
        """Takes nothing new, gives what runs `grace` seconds, then hands it back."""
        self._draining = True
        with suppress(Unavailable):
            await self._places.gone(self._name)
        accepting, *others = self._tasks
        accepting.cancel()  # what was delivered goes on until its run is over
        await asyncio.wait([accepting], timeout=grace)
        for running in self._running:
            running.stop()
        await asyncio.wait([accepting], timeout=5)
        for task in others:
            task.cancel()
        await asyncio.wait(others)

    async def _accept(self) -> None:
        """streaq gives up when it cannot begin, for one: then it begins again."""
        while not self._draining:
            deliveries = Deliveries(self._url, self._bounds.running + _ENDS, self._deliver)
            self._deliveries = deliveries
            try:
                await deliveries.run_async()
            except* (RedisError, OSError) as errors:
                logger.error("the queue cannot be used: %s", format_traceback(errors))
            await asyncio.sleep(_PAUSE)

    async def _beats(self) -> None:
        while True:
            try:
                await self._beat()
            except (Unavailable, OSError) as error:
                logger.warning("the places cannot be reached: %s", format_traceback(error))
            await asyncio.sleep(_BEAT)

    async def _beat(self) -> None:
        running = list(self._running)
        slots = self._bounds.running if self._accepting else 0
        job_ids = [each.job_id for each in running]
        stale, reasons = await self._places.beat(
            self._name, slots, LEASE, job_ids, self._orphaned_after
        )
        for each, reason in zip(running, reasons, strict=True):
            if reason is not None:
                each.cancel(reason)
        await self._put(stale)
        await self._give()

    async def _listen(self) -> None:
        while True:
            with suppress(Unavailable, OSError):
                async with aclosing(self._places.news()) as news:
                    async for cancel in news:
                        if cancel is None:
                            await self._give()
                        else:
                            self._cancel(*cancel)
            await asyncio.sleep(_PAUSE)

    def _cancel(self, job_id: JobId, reason: CancelReason) -> None:
        for running in self._running:
            if running.job_id == job_id:
                running.cancel(reason)

    @property
    def _accepting(self) -> bool:
        return not self._draining and self._deliveries is not None and self._deliveries.accepts

    async def _give(self) -> None:
        if self._accepting:
            await self._put(await self._places.give(self._bounds))

    async def _put(self, all_given: Iterable[Given]) -> None:
        """Raises OSError; what is not put in now, a heartbeat finds in five seconds."""
        for given in all_given:
            assert self._deliveries is not None  # noqa: S101 - given to those who accept
            await self._deliveries.put(given)

    async def _deliver(self, given: Given, lease: Lease) -> None:
        """Returns when the job is over, handed back, or another worker's."""
        run = secrets.token_hex(8)
        if not await lease.held():
            return
        reason = await _persist(lambda: self._places.take(given, run, lease.delivery))
        if reason is None:
            return
        running = _Running(given.job, reason or None)
        logger.info("job %s is taken", given.job)
        running.task = asyncio.create_task(self._execute(running, lease), name=f"job {given.job}")
        self._running.add(running)
        losing = asyncio.create_task(self._stop_when_lost(running, lease.lost))
        await asyncio.wait([running.task])
        losing.cancel()
        self._running.discard(running)
        if _over(running.task, given.job):
            await _persist(lambda: self._places.finish(given.job, run))
            return
        if lease.lost.is_set():
            logger.warning("job %s is another worker's now", given.job)
        else:
            logger.info("job %s is handed back", given.job)
            if not running.task.cancelled():
                await asyncio.sleep(_PAUSE)  # what went wrong will go wrong again, for a while
        # Also one that is lost: whoever has it may have been told that it was ours.
        await _persist(lambda: self._places.hand_back(given.job, run))

    async def _stop_when_lost(self, running: _Running, lost: asyncio.Event) -> None:
        """An emptied Redis has lost the job itself: nobody else has it, and its log must end."""
        await lost.wait()
        with suppress(NotFound):
            await _persist(lambda: self._log.job(running.job_id))
            running.stop()

    async def _execute(self, running: _Running, lease: Lease) -> None:
        """Raises Superseded, also for a lost lease: an attempt is begun only while it is held.

        Whoever gets the lease after that may have begun one when this one's turn comes, if the
        process was frozen: the attempts are counted before the lease is looked at.
        """
        try:
            job = await _persist(lambda: self._log.job(running.job_id))
            begun = await _persist(lambda: self._log.attempts(running.job_id))
        except NotFound:
            return
        if not await lease.held():
            raise Superseded
        await self._run(job, lambda: running.why, begun)


def _over(task: asyncio.Task[None], job_id: JobId) -> bool:
    """A run that crashed is handed back too: the attempts are counted."""
    if task.cancelled():
        return False
    match task.exception():
        case None:
            return True
        case Superseded():
            return False
        case error:
            logger.error("job %s could not be written: %s", job_id, format_traceback(error))
            return False


async def _persist(ask: Callable[[], Awaitable[T]]) -> T:
    """Until Redis can be reached."""
    while True:
        try:
            return await ask()
        except Unavailable:
            await asyncio.sleep(_PAUSE)
