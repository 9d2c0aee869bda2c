"""The toy's one route; its cursor is a frame's id, `1-8` or `1-8.1`."""

from typing import Annotated

from fastapi import APIRouter, Header
from starlette.requests import Request
from starlette.responses import Response

from sluice.domain.events import Cursor
from sluice.interfaces.http.json_request import ApiRoute
from sluice.interfaces.http.routes.parameters import JobIdPath
from sluice.interfaces.http.server.frame_writer import PUSH
from sluice.interfaces.http.services import OptionsDep, ServicesDep, UserDep
from sluice.interfaces.http.sse import EventStream
from tests.http.protocols.toy.encoder import encoder_for

routes = APIRouter(route_class=ApiRoute)


@routes.get("/toy/{job_id}")
async def stream(
    job_id: JobIdPath,
    request: Request,
    services: ServicesDep,
    options: OptionsDep,
    user: UserDep,
    last: Annotated[str, Header(alias="Last-Event-ID")] = "1-0",
) -> Response:
    event, _, skip = last.partition(".")
    attempt, _, seq = event.partition("-")
    batches = await services.follow(
        user.id,
        job_id,
        after=Cursor(int(attempt), int(seq)),
        skip=int(skip or 0),
        encoder_for=encoder_for,
        push=request.scope["extensions"][PUSH],
    )
    return EventStream(batches, options.streams, ping=options.ping, expires=user.expires)
