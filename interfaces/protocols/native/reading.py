"""Reading a job's log, live or later: never a 5xx, on which EventSource would give up."""

import random
import re
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from sluice.application.encoding import Push
from sluice.domain.chat import JobId
from sluice.domain.errors import Finished, Unavailable
from sluice.domain.events import Cursor
from sluice.interfaces.http.auth.identity import User
from sluice.interfaces.http.json_request import ApiRoute, Endpoint
from sluice.interfaces.http.problems import problems
from sluice.interfaces.http.routes.parameters import HeaderCursor, JobIdPath, QueryCursor
from sluice.interfaces.http.server.frame_writer import PUSH
from sluice.interfaces.http.services import (
    Options,
    OptionsDep,
    Services,
    ServicesDep,
    UserDep,
)
from sluice.interfaces.http.sse import HEADERS, EventStream
from sluice.interfaces.protocols.native.encoder import KEEPALIVE, encoder_for

_CURSOR = re.compile(r"([1-9][0-9]{0,17})-(0|[1-9][0-9]{0,17})")
_NOWHERE = Cursor(0, 0)
"""In no log: `Buffer` tells its reader so (`reset`, `cursor_unknown`), and gives it everything."""


class NativeStream(EventStream):
    opening = b"retry: 1000\n\n"
    keepalive = KEEPALIVE
    ends_unfinished = True  # a reader that finds no terminal event comes back

    def interrupted(self) -> bytes:
        return _later()


class StreamRoute(ApiRoute):
    def around(self, handle: Endpoint) -> Endpoint:
        handle_known = super().around(handle)

        async def handle_outage(request: Request) -> Response:
            try:
                return await handle_known(request)
            except Unavailable:
                return come_back()

        return handle_outage


routes = APIRouter(tags=["jobs"], route_class=StreamRoute)

_PATH = "/api/v1/chat/{job_id}/events"
EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string"},
        "id": {"type": "string", "pattern": "^[0-9]+-[0-9]+$"},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"itemSchema": EVENT}}},
    204: {"description": "The cursor is the terminal event's: there is no more"},
    **problems(401, 404, 429),
}


@routes.head(_PATH, include_in_schema=False)
@routes.get(_PATH, response_class=Response, responses=_RESPONSES)
async def events(
    job_id: JobIdPath,
    request: Request,
    services: ServicesDep,
    options: OptionsDep,
    user: UserDep,
    query: QueryCursor,
    header: HeaderCursor,
) -> Response:
    """Everything after the cursor, or everything; the header wins over the query."""
    after = cursor_of(header, query)
    return await stream_of(job_id, after, request, services, options, user)


async def stream_of(
    job_id: JobId,
    after: Cursor | None,
    request: Request,
    services: Services,
    options: Options,
    user: User,
    *,
    reserved: bool = False,
) -> Response:
    """Raises as FollowJob does, but for the end: behind that there is no content."""
    push: Push = request.scope["extensions"][PUSH]
    try:
        batches = await services.follow(
            user.id, job_id, after=after, encoder_for=encoder_for, push=push, reserved=reserved
        )
    except Finished:
        return Response(status_code=204)
    options.streams.resumes += after is not None
    return NativeStream(
        batches, options.streams, ping=options.ping, expires=user.expires, begins=after is None
    )


def cursor_of(header: str | None, query: str | None) -> Cursor | None:
    """The header wins: EventSource repeats the query at every reconnect."""
    text = query if header is None else header
    if not text:
        return None
    match = _CURSOR.fullmatch(text)
    return Cursor(int(match[1]), int(match[2])) if match else _NOWHERE


def come_back() -> Response:
    """What a reader is told while the log cannot be read: EventSource gives up on any 5xx."""
    headers = {**HEADERS, "Connection": "close"}
    return Response(_later(), headers=headers, media_type="text/event-stream")


def _later() -> bytes:
    return b"retry: %d\n\n" % random.randint(1000, 5000)
