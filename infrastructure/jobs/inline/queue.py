"""Jobs as tasks of this process: the policy of `application.scheduling`, carried out."""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime

from sluice.application.lazy_event import LazyEvent
from sluice.application.ports import Record, nothing
from sluice.application.scheduling import Bounds, Scheduled, State, WhenBusy, admit, next_to_run
from sluice.application.tracebacks import format_traceback
from sluice.domain.chat import ChatId, Job, JobId, now
from sluice.domain.errors import Superseded, Unavailable
from sluice.domain.events import CancelReason
from sluice.infrastructure.jobs.shared import Run, recorded, stop

logger = logging.getLogger(__name__)

_CANCEL_WAITS_S = 1.0
"""How long who cancels a job waits for its end."""
_ENDS_WITHIN_S = 3.0
"""How long a shutdown waits for what it stopped: what will not stop may not keep the streams."""


class _Entry(Scheduled):
    """`why` it is cancelled; its `task`, while it has one; `over` when it is, for this process.

    A paused one is looked at again when its `timer` rings, or as soon as it is `woken`.
    """

    __slots__ = ("over", "recording", "task", "timer", "why", "woken")

    def __init__(
        self, job: Job, state: State, recording: asyncio.Future[None] | None = None
    ) -> None:
        super().__init__(job, state, recorded=recording is None)
        self.recording = recording
        self.why: CancelReason | None = None
        self.task: asyncio.Task[None] | None = None
        self.over = LazyEvent()
        self.timer: asyncio.TimerHandle | None = None
        self.woken = False


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
        self._entries: dict[JobId, _Entry] = {}
        self._draining = False

    @property
    def running(self) -> int:
        return sum(entry.task is not None for entry in self._entries.values())

    @property
    def queued(self) -> int:
        paused = sum(entry.state == "paused" for entry in self._entries.values())
        return len(self._entries) - self.running - paused

    async def submit(self, job: Job, record: Record, undo: Record = nothing) -> None:
        if entry := self._entries.get(job.id):
            if entry.recording is not None:
                await asyncio.shield(entry.recording)
            return
        if self._draining:
            raise Unavailable("the service is shutting down")
        state = admit(self._entries.values(), job, self._bounds, self._when_busy)
        if self._when_busy == "interrupt":
            self._interrupt(job.chat_id)
        recording = asyncio.ensure_future(recorded(record, undo))
        entry = self._entries[job.id] = _Entry(job, state, recording)
        try:
            await asyncio.shield(recording)
        except asyncio.CancelledError:
            # The client left while its job was being written: it is written, so it runs.
            recording.add_done_callback(lambda _: self._written(entry))
            raise
        except BaseException:
            self._leave(entry)
            raise
        self._written(entry)

    def runs_at_once(self, job_id: JobId) -> bool:
        entry = self._entries.get(job_id)
        starts = entry is not None and entry.state == "running" and entry.why is None
        return starts and not self._hands_back

    def take_up(self, jobs: Iterable[Job]) -> None:
        """Takes jobs the store already holds, past every bound: they were accepted once."""
        self._entries |= {job.id: _Entry(job, "waiting") for job in jobs}
        self._fill_slots()

    async def cancel(self, job_id: JobId, reason: CancelReason) -> None:
        """Its end is in the store when this returns, but for a node that will not be stopped."""
        if entry := self._entries.get(job_id):
            self._cancel(entry, reason)
            with suppress(TimeoutError):
                async with asyncio.timeout(_CANCEL_WAITS_S):
                    await entry.over.wait()

    async def wake(self, job_id: JobId, *, within: float = 0) -> None:
        """At once or, being in one process with what is to happen `within`, not at all."""
        entry = self._entries.get(job_id)
        if entry is None or within:
            return
        entry.woken = True
        if entry.state == "paused":
            self._look(entry)

    async def drain(self, grace: float) -> None:
        """Takes nothing new, gives what runs `grace` seconds, then ends it.

        A paused job is waited for by nobody: it is the next start's, or over where there is none.
        Until the process is gone it can be cancelled like any other.
        """
        self._draining = True
        for entry in [e for e in self._entries.values() if e.state == "paused"]:
            self._rest(entry)
        await self._wait(grace)
        for entry in list(self._entries.values()):
            if not self._durable:
                self._cancel(entry, "shutdown")
            elif entry.task is not None and entry.state != "ending":
                stop(entry.task)
        await self._wait(_ENDS_WITHIN_S)

    async def _wait(self, seconds: float) -> None:
        """For every job that can still end in this process: a durable queue starts no more."""
        entries = [e for e in self._entries.values() if e.task is not None or not self._durable]
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for entry in entries:
                    await entry.over.wait()

    def _interrupt(self, chat_id: ChatId) -> None:
        for entry in list(self._entries.values()):
            if entry.job.chat_id == chat_id:
                self._cancel(entry, "user")

    def _cancel(self, entry: _Entry, reason: CancelReason) -> None:
        if entry.why is None:
            entry.why = reason
            if entry.task is not None:
                stop(entry.task)
            elif entry.recorded:
                self._end(entry)

    def _written(self, entry: _Entry) -> None:
        recording, entry.recording = entry.recording, None
        if recording and (recording.cancelled() or recording.exception() is not None):
            self._leave(entry)
            return
        entry.recorded = True
        if entry.why is not None:
            self._end(entry)
        elif entry.state == "running" and not self._hands_back:
            self._start(entry)
        else:
            self._fill_slots()

    @property
    def _hands_back(self) -> bool:
        """What has not begun is the next start's."""
        return self._draining and self._durable

    def _fill_slots(self) -> None:
        while not self._hands_back and (entry := next_to_run(self._entries.values(), self._bounds)):
            entry.state = "running"
            self._start(entry)

    def _end(self, entry: _Entry) -> None:
        """Only its end is to be written: no bound counts for that."""
        _stop_timer(entry)
        entry.over.clear()
        entry.state = "ending"
        self._start(entry)
        self._fill_slots()

    def _start(self, entry: _Entry) -> None:
        entry.task = asyncio.create_task(self._execute(entry), name=f"job {entry.job.id}")

    async def _execute(self, entry: _Entry) -> None:
        until: datetime | None = None
        handed_back = False
        try:
            until = await self._run(entry.job, lambda: entry.why)
        except asyncio.CancelledError:
            handed_back = True
            logger.info("job %s is handed back", entry.job.id)
        except Superseded:
            logger.info("job %s is not this run's any more", entry.job.id)
        except Unavailable as error:
            logger.error("job %s could not be written: %s", entry.job.id, format_traceback(error))
        finally:
            if until is not None:
                self._pause(entry, until)
            elif handed_back and entry.why is not None and entry.state != "ending":
                self._end(entry)  # cancelled while it was being handed back
            else:
                self._leave(entry)

    def _pause(self, entry: _Entry, until: datetime) -> None:
        entry.task, entry.state = None, "paused"
        if entry.why is not None:
            self._end(entry)
        elif self._draining:
            self._rest(entry)
        elif entry.woken:
            self._look(entry)
        else:
            left = max(0, (until - now()).total_seconds())
            entry.timer = asyncio.get_running_loop().call_later(left, self._look, entry)
            self._fill_slots()

    def _look(self, entry: _Entry) -> None:
        """Whether it goes on is seen when its turn comes."""
        _stop_timer(entry)
        entry.woken, entry.state = False, "waiting"
        self._fill_slots()

    def _rest(self, entry: _Entry) -> None:
        """A paused job in a process that leaves."""
        _stop_timer(entry)
        if self._durable:
            entry.over.set()
        else:
            self._cancel(entry, "shutdown")

    def _leave(self, entry: _Entry) -> None:
        _stop_timer(entry)
        self._entries.pop(entry.job.id, None)
        entry.over.set()
        self._fill_slots()


def _stop_timer(entry: _Entry) -> None:
    timer, entry.timer = entry.timer, None
    if timer is not None:
        timer.cancel()
