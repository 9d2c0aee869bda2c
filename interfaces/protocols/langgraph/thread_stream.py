"""A thread's events (version 2): its jobs one after another, in a body that outlasts each."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from sluice.application.encoding import Batch, Push
from sluice.domain.chat import Job, JobId
from sluice.domain.errors import NotFound, Unavailable
from sluice.domain.events import QUEUED, Cursor, NeedsInput, Recorded
from sluice.interfaces.http.asked import asked_or_time_to_look
from sluice.interfaces.http.auth.identity import User
from sluice.interfaces.http.services import Services
from sluice.interfaces.http.sse import Batches, EventStream
from sluice.interfaces.protocols.langgraph.event_encoder import EventEncoder
from sluice.interfaces.protocols.langgraph.messages import asked_before
from sluice.interfaces.protocols.langgraph.threads import chat_of
from sluice.interfaces.protocols.pauses import closing_of

_NO_END = (Recorded(Cursor(1, 1), QUEUED),)
"""What a batch is said to hold: no job's end is this body's."""


class ThreadStream(EventStream):
    """It has no end of its own, so every end is a cut; its reader comes back and reads all anew."""

    opening = b": open\n\n"


class ThreadReading:
    """One reader of one thread: from the job that runs or ran last, to whatever comes.

    Nothing is resumed: clients drop the events whose ids they have seen.
    """

    def __init__(
        self,
        services: Services,
        user: User,
        thread: str,
        channels: frozenset[str],
        push: Push | None,
    ) -> None:
        self._services, self._user, self._thread = services, user, thread
        self._channels, self._push = channels, push

    async def batches(self) -> Batches:
        """The first tells nothing: it is one of the user's open streams from then on.

        Raises LimitReached, and Unavailable when the service is leaving.
        """
        told: set[JobId] | None = None
        begun = False
        with self._services.asked.listening(self._user.id, self._thread) as event:
            while not self._services.leaving():
                with self._services.follow.reserve(self._user.id):
                    if not begun:
                        yield Batch(_NO_END, b"", 0)
                        begun = True
                    jobs, active = await self._jobs()
                    if told is None and jobs:
                        first = jobs.index(active) if active in jobs else len(jobs) - 1
                        told = set(jobs[:first])
                    new = next((job for job in jobs if job not in (told or ())), None)
                    if told is None or new is None:
                        await asked_or_time_to_look(event)
                        continue
                    told.add(new)
                    reading = self._job(new)
                    await anext(reading, None)  # counts by itself now
                async with aclosing(reading):
                    async for batch in reading:
                        yield batch
        raise Unavailable("the service is shutting down")

    async def _jobs(self) -> tuple[Sequence[JobId], JobId | None]:
        """The chat's, oldest first, and the one that is not over; none if there is no chat yet."""
        try:
            chat = await chat_of(self._services, self._user.id, self._thread)
            view = await self._services.show_chat(self._user.id, chat.id)
        except NotFound:
            return (), None
        return [one.job_id for one in view.messages if one.role == "user"], view.active_job_id

    async def _job(self, job_id: JobId) -> AsyncGenerator[Batch, None]:
        """The first tells nothing. A job past its retention has nothing to tell."""
        try:
            chat = await chat_of(self._services, self._user.id, self._thread)
            view = await self._services.show_chat(self._user.id, chat.id)

            def encoder_for(job: Job) -> EventEncoder:
                before = asked_before(view.messages, job.id)
                created = int(job.created_at.timestamp() * 1000)
                return EventEncoder(job.id, before, created, self._channels)

            following = await self._services.follow(
                self._user.id,
                job_id,
                after=None,
                encoder_for=encoder_for,
                push=self._push,
                reserved=True,
            )
            async with aclosing(following) as batches:
                yield Batch(_NO_END, b"", 0)
                async for batch in batches:
                    body = batch.body + await self._closing(job_id, batch.events[-1], encoder_for)
                    yield Batch(_NO_END, body, batch.waiting)
        except NotFound:
            return

    async def _closing(
        self, job_id: JobId, last: Recorded, encoder_for: Callable[[Job], EventEncoder]
    ) -> bytes:
        """What follows where the job waits; the body goes on."""
        if not isinstance(last.event, NeedsInput):
            return b""
        found = await self._services.show_job(self._user.id, job_id)
        waits = found.status == "waiting" and found.events[-1].id == last.id
        return closing_of(encoder_for(found.job), found) if waits else b""
