"""A worker: claims jobs, and runs each in a task of its own until its log has ended."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from typing import TypeVar

from sluice.application.outages import Outage
from sluice.application.ports import EventLogPort
from sluice.application.scheduling import Bounds
from sluice.application.tracebacks import format_traceback
from sluice.domain.errors import NotFound, Superseded, Unavailable
from sluice.infrastructure.jobs.redis.lease import Lease
from sluice.infrastructure.jobs.redis.scheduler import Cancel, Claimed, RedisScheduler
from sluice.infrastructure.jobs.shared import Run

logger = logging.getLogger(__name__)
T = TypeVar("T")

LEASE_S = 6
"""Until a dead worker's job is another one's. A node that blocks the loop for five seconds loses
nothing, since leases are renewed twice a second."""
_BEAT_S = 0.5
_RETRY_S = 0.5
"""Between two tries while Redis is down, or after a run that crashed."""
_ENDS = 8
"""Jobs beyond the slots that are only to be ended: they were cancelled before they ran."""
_STOPS_WITHIN_S = 5
"""What is stopped in the end may take so long to hand back its jobs."""


class JobWorker:
    """`bounds.running` is how many jobs this worker runs at once.

    `unread_s`: seconds without a reader until a job, here or elsewhere, is cancelled.
    """

    def __init__(
        self,
        scheduler: RedisScheduler,
        log: EventLogPort,
        run: Run,
        bounds: Bounds,
        *,
        unread_s: float | None = None,
    ) -> None:
        self._scheduler, self._log = scheduler, log
        self._run, self._bounds, self._unread_s = run, bounds, unread_s
        self._name = secrets.token_hex(8)
        self._leases: dict[Lease, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._draining = False
        self._outage = Outage(logger, "the queue cannot be reached", "the queue is reached again")

    @property
    def running(self) -> int:
        return len(self._leases)

    async def run(self) -> None:
        """Until `drain`, or until it crashes."""
        works = (self._claim_jobs(), self._send_heartbeats(), self._listen())
        self._tasks = [asyncio.create_task(work) for work in works]
        await asyncio.gather(*self._tasks)

    async def drain(self, grace: float) -> None:
        """Takes nothing new, gives what runs `grace` seconds, then hands it back."""
        self._draining = True
        self._wake.set()
        with suppress(Unavailable):
            await self._scheduler.gone(self._name)
        claiming, *others = self._tasks
        await asyncio.wait([claiming])  # no longer than Redis may take to answer
        await self._runs_end(grace)
        for lease in self._leases:
            lease.stop()
        await self._runs_end(_STOPS_WITHIN_S)
        left = [*others, *self._leases.values()]
        for task in left:
            task.cancel()
        await asyncio.wait(left)

    async def _runs_end(self, within: float) -> None:
        if self._leases:
            await asyncio.wait(self._leases.values(), timeout=within)

    async def _claim_jobs(self) -> None:
        """Whatever it is woken by, it claims what there is room for. Ends when draining."""
        while not self._draining:
            await self._wake.wait()
            self._wake.clear()
            slots, ends = self._room()
            if not self._draining and (slots or ends):
                await self._claim(slots, ends)

    def _room(self) -> tuple[int, int]:
        """For jobs that run, and for those that are only to be ended."""
        ends = sum(lease.only_ends for lease in self._leases)
        return self._bounds.running - (len(self._leases) - ends), _ENDS - ends

    async def _claim(self, slots: int, ends: int) -> None:
        """Asked until it is answered: what was claimed without an answer would wait for a lapse."""
        name, asked = secrets.token_hex(8), asyncio.get_running_loop().time()
        claimed: Sequence[Claimed] | None = None
        while claimed is None and not self._draining:
            try:
                claimed = await self._scheduler.claim(
                    *(self._name, name),
                    slots=slots,
                    ends=ends,
                    bounds=self._bounds,
                    lease_s=LEASE_S,
                )
            except Unavailable:
                await asyncio.sleep(_RETRY_S)
        for each in claimed or ():
            logger.info("job %s is taken", each.job_id)
            lease = Lease(each, name, asked, self._execute)
            self._leases[lease] = asyncio.create_task(self._hold(lease), name=f"job {each.job_id}")

    async def _send_heartbeats(self) -> None:
        while True:
            try:
                await self._beat()
                self._outage.note(None)
            except Unavailable as error:
                self._outage.note(format_traceback(error))
            await asyncio.sleep(_BEAT_S)

    async def _beat(self) -> None:
        """Renews the leases. Raises Unavailable."""
        leases, asked = list(self._leases), asyncio.get_running_loop().time()
        slots = 0 if self._draining else self._bounds.running
        beat = await self._scheduler.beat(
            self._name, slots, LEASE_S, [lease.held for lease in leases], self._unread_s
        )
        for lease, told in zip(leases, beat.told, strict=True):
            if told == "lost":
                lease.lost.set()
            else:
                lease.renewed = max(lease.renewed, asked)
                if told is not None:
                    lease.cancel(told)
        if beat.claimable:
            self._wake.set()

    async def _listen(self) -> None:
        while True:
            with suppress(Unavailable):
                async with aclosing(self._scheduler.news()) as news:
                    async for new in news:
                        if isinstance(new, Cancel):
                            self._cancel(new)
                        else:
                            self._wake.set()
            await asyncio.sleep(_RETRY_S)

    def _cancel(self, cancel: Cancel) -> None:
        for lease in self._leases:
            if lease.job_id == cancel.job_id:
                lease.cancel(cancel.reason)

    async def _hold(self, lease: Lease) -> None:
        """Returns when the job is over, handed back, or another worker's."""
        try:
            losing = asyncio.create_task(self._stop_when_lost(lease))
            await asyncio.wait([lease.run])
            losing.cancel()
            if not _over(lease):
                await self._release(lease)
            elif (until := lease.run.result()) is not None:
                await _persist(lambda: self._scheduler.pause(lease.held, until))
            else:
                await _persist(lambda: self._scheduler.finish(lease.held))
        finally:
            if not all(self._room()):
                self._wake.set()  # what there was to claim may have been left for lack of room
            del self._leases[lease]

    async def _release(self, lease: Lease) -> None:
        """A run that was only told to stop is not to count as an attempt."""
        returned = False
        if lease.lost.is_set():
            logger.warning("job %s is another worker's now", lease.job_id)
        else:
            logger.info("job %s is handed back", lease.job_id)
            if lease.run.cancelled():
                returned = await self._has_begun(lease)
            else:
                await asyncio.sleep(_RETRY_S)  # what went wrong will go wrong again, for a while
        await _persist(lambda: self._scheduler.release(lease.held, returned=returned))

    async def _has_begun(self, lease: Lease) -> bool:
        try:
            attempts = await _persist(lambda: self._log.attempts(lease.job_id))
        except NotFound:
            return False
        return lease.before is not None and attempts > lease.before

    async def _stop_when_lost(self, lease: Lease) -> None:
        """An emptied Redis has lost the job itself: nobody else has it, and its log must end."""
        await lease.lost.wait()
        with suppress(NotFound):
            await _persist(lambda: self._log.job(lease.job_id))
            lease.stop()

    async def _execute(self, lease: Lease) -> datetime | None:
        """Raises Superseded, also for a lost lease: an attempt is begun only while it is held.

        Whoever gets the lease after that may have begun one when this one's turn comes, if the
        process was frozen: the attempts are counted before the lease is looked at.
        """
        try:
            job = await _persist(lambda: self._log.job(lease.job_id))
            lease.before = await _persist(lambda: self._log.attempts(lease.job_id))
        except NotFound:
            return None
        # Whoever was frozen knows old things only: then Redis is asked, until it answers.
        while lease.older_than(LEASE_S / 2) and not lease.lost.is_set():
            await _persist(self._beat)
        if lease.lost.is_set():
            raise Superseded
        return await self._run(job, lambda: lease.reason, lease.before, lease.returns)


def _over(lease: Lease) -> bool:
    """Over, or paused. A run that crashed is handed back too: the attempts are counted."""
    if lease.run.cancelled():
        return False
    match lease.run.exception():
        case None:
            return True
        case Superseded():
            return False
        case error:
            logger.error("job %s could not be written: %s", lease.job_id, format_traceback(error))
            return False


async def _persist(ask: Callable[[], Awaitable[T]]) -> T:
    """Until Redis can be reached."""
    while True:
        try:
            return await ask()
        except Unavailable:
            await asyncio.sleep(_RETRY_S)
