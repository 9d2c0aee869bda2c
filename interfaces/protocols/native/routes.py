"""Asking: a job is taken, or nothing is; its stream may be the answer itself.

A cut reader of that goes on where any other does, so these routes include those for reading.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from sluice.application.ports import Accepted
from sluice.application.submit import NewMessage
from sluice.domain.chat import Chat, new_id, now
from sluice.domain.errors import Unavailable
from sluice.interfaces.http.accept import STREAM, prefers_stream
from sluice.interfaces.http.auth.identity import User
from sluice.interfaces.http.json_request import ApiRoute
from sluice.interfaces.http.models import (
    AcceptedBody,
    Asking,
    ChatBody,
    FirstQuestion,
    Opening,
    Question,
)
from sluice.interfaces.http.routes.messages import SUBMITTED, check_question
from sluice.interfaces.http.routes.parameters import (
    AskedPath,
    ChatIdPath,
    HeaderCursor,
    IdempotencyKey,
)
from sluice.interfaces.http.services import (
    Options,
    OptionsDep,
    RequestIdDep,
    Services,
    ServicesDep,
    UserDep,
)
from sluice.interfaces.protocols.native import reading
from sluice.interfaces.protocols.native.reading import EVENT, come_back, cursor_of, stream_of

routes = APIRouter(tags=["chat"], route_class=ApiRoute)


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


_JOB = {"Location": _header("The job"), "X-Sluice-Job": _header("The job's id")}
_TAKEN: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "With `Accept: text/event-stream`: the job is taken, and this is its stream",
        "content": {STREAM: {"itemSchema": EVENT}},
        "headers": _JOB | {"Content-Location": _header("The stream, to go on at after a cut")},
    },
    202: {"model": AcceptedBody, "description": "The job is taken", "headers": _JOB},
    204: {"description": "The `Last-Event-ID` is the terminal event's: there is no more"},
    **SUBMITTED,
}
_OPENED = {**_TAKEN, 201: {"model": ChatBody, "description": "A chat without a question"}}


@routes.post("/api/v1/chat/{chat_id}/messages", status_code=202, responses=_TAKEN)
async def ask(
    chat_id: ChatIdPath,
    body: Asking,
    request: Request,
    services: ServicesDep,
    options: OptionsDep,
    user: UserDep,
    request_id: RequestIdDep,
    path: AskedPath,
    last: HeaderCursor,
    key: IdempotencyKey = None,
) -> Response:
    """Ask in a chat, or ask a job's question again."""
    if isinstance(body, Question):
        check_question(body, options)
    new = NewMessage(
        user=user.id,
        request_id=request_id,
        chat_id=chat_id,
        idempotency_key=key,
        sticky=user.sticky,
        path=path,
        **body.model_dump(),
    )
    return await _taken(new, last, request, services, options, user)


@routes.post("/api/v1/chat", status_code=202, responses=_OPENED)
async def open_chat(
    request: Request,
    services: ServicesDep,
    options: OptionsDep,
    user: UserDep,
    request_id: RequestIdDep,
    path: AskedPath,
    last: HeaderCursor,
    body: Opening | None = None,
    key: IdempotencyKey = None,
) -> Response:
    """Open a chat, with or without its first question."""
    if not isinstance(body, FirstQuestion):
        chat = Chat(new_id(), user.id, body.title if body else None, now())
        opened = ChatBody.of(await services.chats.open(chat))
        return _json(opened, 201, {"Location": f"/api/v1/chat/{chat.id}"})
    check_question(body, options)
    new = NewMessage(
        user=user.id,
        request_id=request_id,
        session=body.session_id,
        idempotency_key=key,
        sticky=user.sticky,
        path=path,
        **body.model_dump(exclude={"session_id"}),
    )
    return await _taken(new, last, request, services, options, user)


async def _taken(
    new: NewMessage,
    last: str | None,
    request: Request,
    services: Services,
    options: Options,
    user: User,
) -> Response:
    """Whatever a stream would be refused for is told before the job is taken."""
    if not prefers_stream(", ".join(request.headers.getlist("accept"))):
        accepted = await services.submit(new)
        return _json(_body(accepted), 202, _job(accepted))
    with services.follow.reserve(user.id):
        accepted = await services.submit(new)
        # Without a key the job is a new one, and a cursor can only be another job's.
        after = cursor_of(last, None) if new.idempotency_key else None
        try:
            answer = await stream_of(
                accepted.job_id, after, request, services, options, user, reserved=True
            )
        except Unavailable:
            answer = come_back()
    answer.headers.update(_job(accepted) | {"Content-Location": _stream(accepted)})
    return answer


def _job(accepted: Accepted) -> dict[str, str]:
    return {"Location": f"/api/v1/jobs/{accepted.job_id}", "X-Sluice-Job": accepted.job_id}


def _stream(accepted: Accepted) -> str:
    return f"/api/v1/chat/{accepted.job_id}/events"


def _body(accepted: Accepted) -> AcceptedBody:
    return AcceptedBody(
        job_id=accepted.job_id,
        chat_id=accepted.chat_id,
        path=accepted.path,
        stream_url=_stream(accepted),
    )


class _Json(Response):
    """Starlette looks in `headers` for the length and the type."""

    media_type = "application/json"

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        self.raw_headers = [
            *((name.lower().encode(), value.encode()) for name, value in (headers or {}).items()),
            (b"content-length", b"%d" % len(self.body)),
            (b"content-type", b"application/json"),
        ]


def _json(body: BaseModel, status: int, headers: dict[str, str]) -> Response:
    return _Json(body.model_dump_json(), status, headers)


routes.include_router(reading.routes)
