"""Jobs as tasks of this process: bounded, fair enough, one at a time in a chat."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from sluice.application.ports import Record, nothing
from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import ChatId, Job, JobId
from sluice.domain.errors import Conflict, LimitReached, Superseded, Unavailable
from sluice.domain.events import CancelReason
from sluice.infrastructure.jobs.shared import Bounds, Run, WhenBusy, stop

logger = logging.getLogger(__name__)

_STOPS_WITHIN = 1.0
"""Seconds that who cancels a job waits for its end."""


@dataclass(slots=True, eq=False)
class _Place:
    """A job's place, from its submission to its end. `recorded` is when it may run.

    `counted` among the running: from its admission if it need not wait, so that jobs which are
    being recorded side by side cannot all be promised the same free place.
    """

    job: Job
    recording: asyncio.Future[None]
    recorded: bool = False
    counted: bool = False
    why: CancelReason | None = None
    task: asyncio.Task[None] | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)


class InlineJobQueue:
    """`durable`: what a shutdown interrupts is handed back to the store for the next start."""

    def __init__(
        self,
        run: Run,
        bounds: Bounds,
        *,
        when_busy: WhenBusy = "enqueue",
        durable: bool = False,
    ) -> None:
        self._run, self._bounds, self._when_busy = run, bounds, when_busy
        self._durable = durable
        self._places: dict[JobId, _Place] = {}
        self._counted = 0
        self._users: Counter[str] = Counter()
        self._chats: Counter[str] = Counter()
        self._draining = False

    @property
    def running(self) -> int:
        return sum(place.task is not None for place in self._places.values())

    @property
    def queued(self) -> int:
        return len(self._places) - self.running

    async def submit(self, job: Job, record: Record, undo: Record = nothing) -> None:
        if place := self._places.get(job.id):
            await asyncio.shield(place.recording)
            return
        runs = self._admit(job)
        place = self._places[job.id] = _Place(job, asyncio.ensure_future(_done(record, undo)))
        if runs:
            self._count(place)
        try:
            await asyncio.shield(place.recording)
        except asyncio.CancelledError:
            # The client left while its job was being written: it is written, so it runs.
            place.recording.add_done_callback(lambda done: self._written(place, done))
            raise
        except BaseException:
            self._leave(place)
            raise
        self._written(place, place.recording)

    def resume(self, jobs: Iterable[Job]) -> None:
        """Takes jobs the store already holds, past every bound: they were accepted once."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        self._places |= {job.id: _Place(job, done, recorded=True) for job in jobs}
        self._next()

    async def cancel(self, job_id: JobId, reason: CancelReason) -> None:
        """Its end is in the store when this returns, but for a node that will not be stopped."""
        place = self._places.get(job_id)
        self._cancel(job_id, reason)
        if place is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOPS_WITHIN):
                    await place.over.wait()

    async def drain(self, grace: float) -> None:
        """Takes nothing new, gives what runs `grace` seconds, then ends it."""
        self._draining = True
        await self._wait(grace)
        for place in list(self._places.values()):
            if not self._durable:
                self._cancel(place.job.id, "shutdown")
            elif place.task is not None:
                stop(place.task)
        await self._wait(3)  # what does not let itself be stopped may not keep the streams

    async def _wait(self, seconds: float) -> None:
        """For every job that can still end in this process: a durable queue starts no more."""
        places = [p for p in self._places.values() if p.task is not None or not self._durable]
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for place in places:
                    await place.over.wait()

    def _cancel(self, job_id: JobId, reason: CancelReason) -> None:
        if (place := self._places.get(job_id)) and place.why is None:
            place.why = reason
            if place.task is not None:
                stop(place.task)
            elif place.recorded:
                self._start(place)  # only to write its end: no bound counts for that

    def _admit(self, job: Job) -> bool:
        """Whether it may run as soon as it is recorded."""
        if self._draining:
            raise Unavailable("the service is shutting down")
        others = [p for p in self._places.values() if p.job.chat_id == job.chat_id]
        if others and self._when_busy == "reject":
            raise Conflict("the chat's last question is still being answered")
        runs = not others and self._may_run(job)
        if not runs:
            self._require_room(job)
        if self._when_busy == "interrupt":
            for place in others:
                self._cancel(place.job.id, "user")
        return runs

    def _require_room(self, job: Job) -> None:
        waiting = [place.job.user for place in self._places.values() if not place.counted]
        if len(waiting) >= self._bounds.queued:
            raise LimitReached("the service is busy", per_user=False, retry_after=5)
        bound = self._bounds.user_queued
        if bound is not None and waiting.count(job.user) >= bound:
            raise LimitReached("too many questions are waiting", per_user=True, retry_after=5)

    def _may_run(self, job: Job) -> bool:
        user_bound = self._bounds.user_running
        return (
            self._counted < self._bounds.running
            and (user_bound is None or self._users[job.user] < user_bound)
            and not self._chats[job.chat_id]
        )

    def _written(self, place: _Place, recording: asyncio.Future[None]) -> None:
        if recording.cancelled() or recording.exception() is not None:
            self._leave(place)
            return
        place.recorded = True
        if place.why is not None:
            self._start(place)
        else:
            self._next()

    def _next(self) -> None:
        """Starts every job that may run, the oldest first, and in a chat no other."""
        if self._draining and self._durable:
            return
        ahead = set[ChatId]()
        for place in list(self._places.values()):
            job, waits = place.job, place.task is None and place.recorded
            if waits and (place.counted or (job.chat_id not in ahead and self._may_run(job))):
                self._start(place)
            ahead.add(job.chat_id)

    def _start(self, place: _Place) -> None:
        if not place.counted:
            self._count(place)
        place.task = asyncio.create_task(self._execute(place), name=f"job {place.job.id}")

    async def _execute(self, place: _Place) -> None:
        try:
            await self._run(place.job, lambda: place.why)
        except asyncio.CancelledError:
            logger.info("job %s is handed back", place.job.id)
        except Superseded:
            logger.info("job %s is not this run's any more", place.job.id)
        except Unavailable as error:
            logger.error("job %s could not be written: %s", place.job.id, format_traceback(error))
        finally:
            self._leave(place)

    def _count(self, place: _Place) -> None:
        place.counted = True
        self._counted += 1
        self._users[place.job.user] += 1
        self._chats[place.job.chat_id] += 1

    def _leave(self, place: _Place) -> None:
        self._places.pop(place.job.id, None)
        if place.counted:
            self._counted -= 1
            _take(self._users, place.job.user)
            _take(self._chats, place.job.chat_id)
        place.over.set()
        self._next()


async def _done(record: Record, undo: Record) -> None:
    try:
        await record()
    except Exception:
        await undo()
        raise


def _take(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
