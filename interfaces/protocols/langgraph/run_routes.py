"""Runs: asked for, followed, looked at, stopped."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sluice.application.jobs import JobView
from sluice.application.submit import NewMessage
from sluice.domain.chat import Chat, Job, JobId
from sluice.domain.errors import Conflict, NotFound
from sluice.interfaces.http.auth.identity import User
from sluice.interfaces.http.problems import wrong
from sluice.interfaces.http.routes.parameters import possible_id
from sluice.interfaces.http.services import (
    Options,
    OptionsDep,
    RequestIdDep,
    Services,
    ServicesDep,
    UserDep,
)
from sluice.interfaces.protocols.langgraph.answers import answer
from sluice.interfaces.protocols.langgraph.problems import RunRoute
from sluice.interfaces.protocols.langgraph.requests import (
    MODES_KEY,
    NewRun,
    ThreadPath,
    modes_of,
    question_of,
)
from sluice.interfaces.protocols.langgraph.streams import headers_of, joined_run, run_stream
from sluice.interfaces.protocols.langgraph.threads import chat_of, run_of, thread_of
from sluice.interfaces.protocols.pauses import pauses_in

routes = APIRouter(route_class=RunRoute)

_RUN = "/threads/{thread}/runs/{job_id}"
_PART = re.compile(r"(.+)\.([2-9]|[1-9][0-9]{1,3})")


def _run_path(job_id: str) -> tuple[JobId, int]:
    """The job, and behind how many of its pauses the run is. What cannot be one is not found."""
    match = _PART.fullmatch(job_id)
    found, part = (match[1], int(match[2]) - 1) if match else (job_id, 0)
    return possible_id(found), part


RunPath = Annotated[tuple[JobId, int], Depends(_run_path)]


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
    new = await asked(None, body, services, options, user, request_id)
    with services.follow.reserve(user.id):
        accepted = await services.submit(new)
        chat = await services.chats.chat(user.id, accepted.chat_id)
        told = services, user, chat, chat.id, accepted.job_id
        return await run_stream(request, *told, modes=body.modes, reserved=True)


@routes.post("/threads/{thread}/runs/stream", response_class=Response)
async def stream_run(
    thread: ThreadPath,
    request: Request,
    body: NewRun,
    services: ServicesDep,
    options: OptionsDep,
    user: UserDep,
    request_id: RequestIdDep,
) -> Response:
    """Ask, or answer what a run has asked, and follow the answer."""
    answers = body.command is not None
    new = None if answers else await asked(thread, body, services, options, user, request_id)
    with services.follow.reserve(user.id):
        if new is None:
            job, part = await resume(thread, body, services, user)
            chat = await chat_of(services, user.id, thread)
        else:
            accepted = await services.submit(new)
            job, part = accepted.job_id, 0
            chat = await services.chats.chat(user.id, accepted.chat_id)
        told = services, user, chat, thread, job
        return await run_stream(request, *told, part=part, modes=body.modes, reserved=True)


@routes.post("/threads/{thread}/runs")
async def create_run(
    thread: ThreadPath,
    body: NewRun,
    services: ServicesDep,
    options: OptionsDep,
    user: UserDep,
    request_id: RequestIdDep,
) -> JSONResponse:
    """Ask; the answer can be joined."""
    accepted = await services.submit(await asked(thread, body, services, options, user, request_id))
    job = await services.show_job(user.id, accepted.job_id)
    headers = headers_of(thread, accepted.job_id, body.modes)
    return JSONResponse(run_of(job, thread), headers=headers)


@routes.get(_RUN)
async def show_run(
    thread: ThreadPath, run: RunPath, services: ServicesDep, user: UserDep
) -> dict[str, Any]:
    """A run as its log tells it now."""
    job_id, part = run
    return run_of(await _run(services, user, thread, job_id), thread, part)


@routes.get(f"{_RUN}/stream", response_class=Response)
async def join_stream(
    thread: ThreadPath,
    run: RunPath,
    request: Request,
    services: ServicesDep,
    user: UserDep,
    stream_mode: Annotated[Sequence[str], Query()] = (),
    last: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
) -> Response:
    """A run's events behind the cursor, or all of them; in its own modes if none are named."""
    chat = await chat_of(services, user.id, thread)
    (job_id, part), modes = run, modes_of(stream_mode)
    return await run_stream(
        request, services, user, chat, thread, job_id, part=part, modes=modes, after=last
    )


@routes.get(f"{_RUN}/join", response_class=Response)
async def join_run(
    thread: ThreadPath, run: RunPath, request: Request, services: ServicesDep, user: UserDep
) -> Response:
    """The thread's values, once the run is over."""
    chat = await chat_of(services, user.id, thread)
    return await joined_run(request, services, user, chat, thread, *run)


@routes.post(f"{_RUN}/cancel", status_code=202)
async def cancel_run(
    thread: ThreadPath,
    run: RunPath,
    services: ServicesDep,
    user: UserDep,
    action: Annotated[Literal["interrupt", "rollback"], Query()] = "interrupt",
) -> dict[str, Any]:
    """Stop a run; what it has said is kept. One that is over stays as it ended."""
    if action == "rollback":
        raise wrong("action", "an answer cannot be undone")
    await _run(services, user, thread, run[0])
    await services.cancel(user.id, run[0])
    return {}


async def resume(thread: str, body: NewRun, services: Services, user: User) -> tuple[JobId, int]:
    """The job that goes on, and how many pauses it had. Raises as `answer` does."""
    job_id = await answer(thread, body.resumed(), services, user)
    found = await services.show_job(user.id, job_id)
    return job_id, len(pauses_in(found.events))


async def asked(
    thread: str | None,
    body: NewRun,
    services: Services,
    options: Options,
    user: User,
    request_id: str,
    *,
    key: str | None = None,
) -> NewMessage:
    """Without an input the thread's newest question is asked again.

    Raises NotFound, Problem 422, and Conflict for a branch off the thread.
    """
    body.check()
    again = await _newest(thread, services, user) if body.input is None else None
    if again is None:
        question, message_id = question_of(body.input, options, body.assistant_id)
        fields: dict[str, Any] = {"message": question.message, "model": question.model}
    else:
        message_id, fields = None, {"retry_of": again.id}
    chat = await _asked_in(thread, body, services, user, message_id)
    given: Any = body.metadata or (again and again.metadata) or {}
    return NewMessage(
        user=user.id,
        request_id=request_id,
        chat_id=chat.id if chat else None,
        session=None if chat else thread,
        message_id=message_id,
        metadata={**given, MODES_KEY: list(body.modes)},
        idempotency_key=key,
        sticky=user.sticky,
        **fields,
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


async def _newest(thread: str | None, services: Services, user: User) -> Job | None:
    """The last question's, if the thread has one. Raises NotFound past its retention."""
    try:
        chat = await chat_of(services, user.id, thread or "")
    except NotFound:
        return None
    view = await services.show_chat(user.id, chat.id)
    asked = [one.job_id for one in view.messages if one.role == "user"]
    return (await services.show_job(user.id, asked[-1])).job if asked else None


async def _run(services: Services, user: User, thread: str, job_id: str) -> JobView:
    chat = await chat_of(services, user.id, thread)
    job = await services.show_job(user.id, job_id)
    if job.job.chat_id != chat.id:
        raise NotFound(job_id)
    return job
