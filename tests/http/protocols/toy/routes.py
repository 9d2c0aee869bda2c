"""The toy's one route; its cursor is a frame's id, `1-8` or `1-8.1`."""

from typing import Annotated

from fastapi import APIRouter, Header
from starlette.responses import Response

from sluice.domain.events import Cursor
from sluice.interfaces.http.following import FollowingDep
from sluice.interfaces.http.json_request import ApiRoute
from sluice.interfaces.http.routes.parameters import JobIdPath
from tests.http.protocols.toy.encoder import encoder_for

routes = APIRouter(route_class=ApiRoute)


@routes.get("/toy/{job_id}")
async def stream(
    job_id: JobIdPath,
    following: FollowingDep,
    last: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
) -> Response:
    if last is None:
        return await following(job_id, encoder_for)
    event, _, skip = last.partition(".")
    attempt, _, seq = event.partition("-")
    return await following(job_id, encoder_for, Cursor(int(attempt), int(seq)), int(skip or 0))
