"""Runs: asked for, followed, looked at, stopped."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sluice.application.jobs import JobView
from sluice.application.ports import Accepted
from sluice.application.submit import NewMessage
from sluice.domain.chat import Chat
from sluice.domain.errors import Conflict, NotFound
from sluice.interfaces.http.auth.identity import User
from sluice.interfaces.http.problems import wrong
from sluice.interfaces.http.routes.parameters import JobIdPath
from sluice.interfaces.http.services import (
    Options,
    OptionsDep,
    RequestIdDep,
    Services,
    ServicesDep,
    UserDep,
)
from sluice.interfaces.protocols.langgraph.problems import RunRoute
from sluice.interfaces.protocols.langgraph.requests import (
    MODES_KEY,
    NewRun,
    modes_of,
    question_of,
)
from sluice.interfaces.protocols.langgraph.streams import headers_of, joined_run, run_stream
from sluice.interfaces.protocols.langgraph.threads import chat_of, run_of, thread_of

routes = APIRouter(route_class=RunRoute)

_RUN = "/threads/{thread}/runs/{job_id}"


@routes.post("/runs/stream", response_class=Response)
async def stream_alone(
    request: Request,
    body: NewRun,
    services: ServicesDep,
    options: OptionsDep,
    user: UserDep,
    request_id: RequestIdDep,
) -> Response:
    """Ask in a thread that is made for it."""
    accepted = await ask(None, body, services, options, user, request_id)
    chat = await services.chats.chat(user.id, accepted.chat_id)
    job, modes = accepted.job_id, body.modes
    return await run_stream(request, services, user, chat, chat.id, job, modes=modes)


@routes.post("/threads/{thread}/runs/stream", response_class=Response)
async def stream_run(
    thread: str,
    request: Request,
    body: NewRun,
    services: ServicesDep,
    options: OptionsDep,
    user: UserDep,
    request_id: RequestIdDep,
) -> Response:
    """Ask, and follow the answer."""
    accepted = await ask(thread, body, services, options, user, request_id)
    chat = await services.chats.chat(user.id, accepted.chat_id)
    job, modes = accepted.job_id, body.modes
    return await run_stream(request, services, user, chat, thread, job, modes=modes)


@routes.post("/threads/{thread}/runs")
async def create_run(
    thread: str,
    body: NewRun,
    services: ServicesDep,
    options: OptionsDep,
    user: UserDep,
    request_id: RequestIdDep,
) -> JSONResponse:
    """Ask; the answer can be joined."""
    accepted = await ask(thread, body, services, options, user, request_id)
    job = await services.show_job(user.id, accepted.job_id)
    headers = headers_of(thread, accepted.job_id, body.modes)
    return JSONResponse(run_of(job, thread), headers=headers)


@routes.get(_RUN)
async def show_run(
    thread: str, job_id: JobIdPath, services: ServicesDep, user: UserDep
) -> dict[str, Any]:
    """A run as its log tells it now."""
    return run_of(await _run(services, user, thread, job_id), thread)


@routes.get(f"{_RUN}/stream", response_class=Response)
async def join_stream(
    thread: str,
    job_id: JobIdPath,
    request: Request,
    services: ServicesDep,
    user: UserDep,
    stream_mode: Annotated[Sequence[str], Query()] = (),
    last: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
) -> Response:
    """A run's events behind the cursor, or all of them; in its own modes if none are named."""
    chat = await chat_of(services, user.id, thread)
    modes = modes_of(stream_mode)
    return await run_stream(request, services, user, chat, thread, job_id, modes=modes, after=last)


@routes.get(f"{_RUN}/join", response_class=Response)
async def join_run(
    thread: str, job_id: JobIdPath, request: Request, services: ServicesDep, user: UserDep
) -> Response:
    """The thread's values, once the run is over."""
    chat = await chat_of(services, user.id, thread)
    return await joined_run(request, services, user, chat, thread, job_id)


@routes.post(f"{_RUN}/cancel", status_code=202)
async def cancel_run(
    thread: str,
    job_id: JobIdPath,
    services: ServicesDep,
    user: UserDep,
    action: Annotated[Literal["interrupt", "rollback"], Query()] = "interrupt",
) -> dict[str, Any]:
    """Stop a run; what it has said is kept. One that is over stays as it ended."""
    if action == "rollback":
        raise wrong("action", "an answer cannot be undone")
    await _run(services, user, thread, job_id)
    await services.cancel(user.id, job_id)
    return {}


async def ask(
    thread: str | None,
    body: NewRun,
    services: Services,
    options: Options,
    user: User,
    request_id: str,
    *,
    key: str | None = None,
) -> Accepted:
    """Raises what SubmitMessage does, Problem 422, and Conflict for a branch off the thread."""
    body.check()
    question, message_id = question_of(body.input, options, body.assistant_id)
    chat = await _asked_in(thread, body, services, user, message_id)
    metadata: dict[str, Any] = {**(body.metadata or {}), MODES_KEY: list(body.modes)}
    return await services.submit(
        NewMessage(
            user=user.id,
            request_id=request_id,
            chat_id=chat.id if chat else None,
            session=None if chat else thread,
            message=question.message,
            message_id=message_id,
            model=question.model,
            metadata=metadata,
            idempotency_key=key,
            sticky=user.sticky,
        )
    )


async def _asked_in(
    thread: str | None, body: NewRun, services: Services, user: User, message_id: str | None
) -> Chat | None:
    """The thread's chat; None if the question makes it."""
    if thread is None:
        return None
    try:
        chat = await chat_of(services, user.id, thread)
    except NotFound:
        if body.if_not_exists == "create":
            return None
        raise
    now = await thread_of(services, chat, thread)
    old = message_id is not None and any(
        one.role == "user" and one.id == message_id for one in now.messages
    )
    if old or body.parent not in (None, now.head):
        raise Conflict("a thread has no branches: an earlier message cannot be asked anew")
    if body.multitask_strategy == "reject" and now.running is not None:
        raise Conflict("a run of this thread is not over")
    return chat


async def _run(services: Services, user: User, thread: str, job_id: str) -> JobView:
    chat = await chat_of(services, user.id, thread)
    job = await services.show_job(user.id, job_id)
    if job.job.chat_id != chat.id:
        raise NotFound(job_id)
    return job
