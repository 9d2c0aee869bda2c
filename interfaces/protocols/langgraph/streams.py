"""A run's event stream, and its way back."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from sluice.application.compact_json import compact
from sluice.application.encoding import Batch, Encoder, Push
from sluice.domain.chat import Chat, Job, JobId, Message
from sluice.domain.errors import Finished, LimitReached, NotFound, Unavailable
from sluice.domain.events import BEGINNING, QUEUED, TERMINAL, Cursor, Failed, NeedsInput, Recorded
from sluice.interfaces.http.auth.identity import User
from sluice.interfaces.http.server.frame_writer import PUSH
from sluice.interfaces.http.services import Options, Services
from sluice.interfaces.http.sse import HEADERS, Batches, EventStream
from sluice.interfaces.protocols.frames import position_of
from sluice.interfaces.protocols.langgraph.encoder import RunEncoder, run_id
from sluice.interfaces.protocols.langgraph.messages import asked_before
from sluice.interfaces.protocols.langgraph.requests import MODES_KEY, modes_of
from sluice.interfaces.protocols.langgraph.threads import thread_of
from sluice.interfaces.protocols.pauses import closing_of, pauses_in

_END = b"event: end\ndata: null\n\n"
_QUEUED = Recorded(Cursor(1, 1), QUEUED)
"""Every log's first event."""
_MODES = ("messages", "values")
"""Of a job that no client of this protocol has asked for."""


async def run_stream(
    request: Request,
    services: Services,
    user: User,
    chat: Chat,
    thread: str,
    job_id: JobId,
    *,
    part: int = 0,
    modes: Sequence[str] = (),
    after: str | None = None,
    reserved: bool = False,
) -> Response:
    """Behind the frame of the id `after`; without `modes`, those that the run was asked with.

    `reserved`: there is room for the stream.

    Raises NotFound for a run of another thread, and what FollowJob raises.
    """
    options: Options = request.app.state.options
    cursor, skip = position_of(after)
    push: Push = request.scope["extensions"][PUSH]
    reading = RunReading(services, user, chat, job_id, modes, push, part)
    try:
        batches = await reading.batches(cursor, skip, reserved=reserved)
    except Finished:
        return Response(_END, headers=HEADERS, media_type="text/event-stream")
    options.streams.resumes += cursor is not None
    stream = EventStream(batches, options.streams, ping=options.ping, expires=user.expires)
    stream.at_pause = reading.closing
    stream.headers.update(headers_of(thread, job_id, reading.modes, part))
    return stream


class RunReading:
    """One reader of one run, whose `values` begin with what the chat held when its turn came."""

    def __init__(
        self,
        services: Services,
        user: User,
        chat: Chat,
        job_id: JobId,
        modes: Sequence[str],
        push: Push | None,
        part: int,
    ) -> None:
        self._services, self._user, self._chat, self._job_id = services, user, chat, job_id
        self.modes, self._push, self._part = modes, push, part
        self._messages: Sequence[Message] = ()

    async def batches(self, after: Cursor | None, skip: int, *, reserved: bool = False) -> Batches:
        """Raises NotFound, Finished for the end's cursor, LimitReached and Unavailable."""
        view = await self._services.show_chat(self._user.id, self._chat.id)
        self._messages = view.messages
        if view.active_job_id not in (None, self._job_id):
            found = await self._services.show_job(self._user.id, self._job_id)
            if found.status == "queued":
                return self._in_its_turn(self._encoder(found.job), after, skip)
        return await self._follow(after, skip, self._push, reserved=reserved)

    async def _in_its_turn(
        self, encoder: RunEncoder, after: Cursor | None, skip: int
    ) -> AsyncGenerator[Batch, None]:
        """The first frame at once, the rest when the job begins, behind the answers before it."""
        if after is None:
            first = encoder.encode(encoder.initial, BEGINNING, _QUEUED)[1]
            yield Batch((_QUEUED,), first[0], 1)
            after, skip = (BEGINNING, 1) if len(first) > 1 else (_QUEUED.id, 0)
        try:
            async with aclosing(await self._follow(_QUEUED.id)) as waiting:
                await anext(waiting, None)
            view = await self._services.show_chat(self._user.id, self._chat.id)
            self._messages = view.messages
            async with aclosing(await self._follow(after, skip, self._push)) as batches:
                async for batch in batches:
                    yield batch
        except LimitReached as error:
            raise Unavailable("too many open streams") from error

    async def _follow(
        self,
        after: Cursor | None,
        skip: int = 0,
        push: Push | None = None,
        *,
        reserved: bool = False,
    ) -> Batches:
        return await self._services.follow(
            self._user.id,
            self._job_id,
            after=after,
            skip=skip,
            encoder_for=self._encoder,
            push=push,
            reserved=reserved,
        )

    async def closing(self, last: Cursor) -> bytes | None:
        """What ends the run where its job waits for a human."""
        found = await self._services.show_job(self._user.id, self._job_id)
        if found.events[-1].id != last or len(pauses_in(found.events)) <= self._part:
            return None
        return closing_of(self._encoder(found.job), found)

    def _encoder(self, job: Job) -> RunEncoder:
        if job.chat_id != self._chat.id:
            raise NotFound(job.id)
        self.modes = self.modes or _remembered(job)
        asked = asked_before(self._messages, job.id)
        return RunEncoder(job.id, asked, frozenset(self.modes), self._part)


def _remembered(job: Job) -> Sequence[str]:
    names = job.metadata.get(MODES_KEY)
    texts = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return modes_of(texts) or _MODES


def headers_of(thread: str, job_id: JobId, modes: Sequence[str], part: int = 0) -> dict[str, str]:
    """Where the run and its stream are, from the client's own base address."""
    run = f"/threads/{quote(thread, safe='')}/runs/{run_id(job_id, part)}"
    query = "&".join(f"stream_mode={mode}" for mode in modes)
    return {
        "Location": f"{run}/stream?{query}",
        "Content-Location": run,
        "X-Sluice-Job": job_id,
    }


class JoinedRun(EventStream):
    """The result alone, when it is there; what keeps the connection is white space before it."""

    keepalive = b"\n"


async def joined_run(
    request: Request,
    services: Services,
    user: User,
    chat: Chat,
    thread: str,
    job_id: JobId,
    part: int,
) -> Response:
    """The thread's values once the run is over, as it is where its job waits for a human.

    Raises NotFound and LimitReached.
    """
    options: Options = request.app.state.options

    def encoder_for(job: Job) -> Encoder:
        if job.chat_id != chat.id:
            raise NotFound(job.id)
        return RunEncoder(job.id, "", frozenset())

    batches = await services.follow(user.id, job_id, after=None, encoder_for=encoder_for)

    async def at_pause(_: Cursor) -> bytes | None:
        if len(pauses_in((await services.show_job(user.id, job_id)).events)) <= part:
            return None
        found = await thread_of(services, chat, thread)
        asked = {"__interrupt__": found.interrupts} if found.interrupts else {}
        return compact({**found.values(draft=True), **asked}).encode()

    async def result() -> AsyncGenerator[Batch, None]:
        async with aclosing(batches):
            async for batch in batches:
                last = batch.events[-1]
                if isinstance(last.event, TERMINAL):
                    values = (await thread_of(services, chat, thread)).values(draft=True)
                    if isinstance(last.event, Failed):
                        error = {"error": last.event.code, "message": last.event.message}
                        values["__error__"] = error
                    yield Batch([last], compact(values).encode(), 1)
                elif asked := [one for one in batch.events if isinstance(one.event, NeedsInput)]:
                    yield Batch(asked[-1:], b"", 1)

    stream = JoinedRun(result(), options.streams, ping=options.ping, expires=user.expires)
    stream.at_pause = at_pause
    stream.headers["Content-Type"] = "application/json"
    return stream
