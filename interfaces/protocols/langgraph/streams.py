"""A run's event stream, and its way back."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from sluice.application.compact_json import compact
from sluice.application.encoding import Batch, Encoder, Push
from sluice.domain.chat import Chat, Job, JobId
from sluice.domain.errors import Finished, NotFound
from sluice.domain.events import TERMINAL, Failed
from sluice.interfaces.http.auth.identity import User
from sluice.interfaces.http.server.frame_writer import PUSH
from sluice.interfaces.http.services import Options, Services
from sluice.interfaces.http.sse import HEADERS, EventStream
from sluice.interfaces.protocols.frames import position_of
from sluice.interfaces.protocols.langgraph.encoder import RunEncoder
from sluice.interfaces.protocols.langgraph.messages import asked, form_of
from sluice.interfaces.protocols.langgraph.requests import MODES_KEY, modes_of
from sluice.interfaces.protocols.langgraph.threads import thread_of

_END = b"event: end\ndata: null\n\n"
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
    modes: Sequence[str] = (),
    after: str | None = None,
) -> Response:
    """Behind the frame of the id `after`; without `modes`, those that the run was asked with.

    Raises NotFound for a run of another thread, and what FollowJob raises.
    """
    options: Options = request.app.state.options
    view = await services.show_chat(user.id, chat.id)
    shown = list(modes)

    def encoder_for(job: Job) -> Encoder:
        if job.chat_id != chat.id:
            raise NotFound(job.id)
        shown[:] = shown or _remembered(job)
        before = ",".join(compact(form_of(one)) for one in asked(view.messages, job.id))
        return RunEncoder(job.id, before, frozenset(shown))

    cursor, skip = position_of(after)
    push: Push | None = request.scope.get("extensions", {}).get(PUSH)
    try:
        batches = await services.follow(
            user.id, job_id, after=cursor, skip=skip, encoder_for=encoder_for, push=push
        )
    except Finished:
        return Response(_END, headers=HEADERS, media_type="text/event-stream")
    options.streams.resumes += cursor is not None
    stream = EventStream(batches, options.streams, ping=options.ping, expires=user.expires)
    stream.headers.update(headers_of(thread, job_id, shown))
    return stream


def headers_of(thread: str, job_id: JobId, modes: Sequence[str]) -> dict[str, str]:
    """Where the run and its stream are, from the client's own base address."""
    run = f"/threads/{quote(thread, safe='')}/runs/{job_id}"
    query = "&".join(f"stream_mode={mode}" for mode in modes)
    return {
        "Location": f"{run}/stream?{query}",
        "Content-Location": run,
        "X-Sluice-Job": job_id,
    }


def _remembered(job: Job) -> Sequence[str]:
    names = job.metadata.get(MODES_KEY)
    texts = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return modes_of(texts) or _MODES


class JoinedRun(EventStream):
    """The result alone, when it is there; what keeps the connection is white space before it."""

    keepalive = b"\n"


async def joined_run(
    request: Request, services: Services, user: User, chat: Chat, thread: str, job_id: JobId
) -> Response:
    """The thread's values once the run is over. Raises NotFound and LimitReached."""
    options: Options = request.app.state.options

    def encoder_for(job: Job) -> Encoder:
        if job.chat_id != chat.id:
            raise NotFound(job.id)
        return RunEncoder(job.id, "", frozenset())

    batches = await services.follow(user.id, job_id, after=None, encoder_for=encoder_for)

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

    stream = JoinedRun(result(), options.streams, ping=options.ping, expires=user.expires)
    stream.headers["Content-Type"] = "application/json"
    return stream
