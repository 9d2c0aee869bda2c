"""The share of users who take A2, looked at and changed by operators while the service runs."""

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from ipaddress import ip_address
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from starlette.requests import Request
from starlette.responses import StreamingResponse

from sluice.application.export import ExportFormat
from sluice.application.rollout_changes import RolloutView
from sluice.domain.errors import NotFound, Outdated, Unavailable
from sluice.interfaces.http.auth.identity import User
from sluice.interfaces.http.json_request import ApiRoute
from sluice.interfaces.http.problems import Problem, problems
from sluice.interfaces.http.rollout_models import (
    Change,
    NewPlan,
    NewShare,
    NewState,
    RolloutBody,
)
from sluice.interfaces.http.server.frame_writer import RESET
from sluice.interfaces.http.services import Options, ServicesDep, UserDep

_NUMBER = re.compile(r'"([0-9]{1,9})"')
_FORWARDED = ("forwarded", "x-forwarded-for")


class AdminRoute(ApiRoute):
    """For others it is not there, whatever they send."""

    def permit(self, request: Request, user: User, options: Options) -> None:
        admins = options.admins
        if not (_is_local(request) if admins is None else user.id in admins):
            raise NotFound("no admin")


def _is_local(request: Request) -> bool:
    """The peer is this machine, and is no proxy that speaks for another."""
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    peer = ip_address(request.client.host)
    return (getattr(peer, "ipv4_mapped", None) or peer).is_loopback


routes = APIRouter(tags=["rollout"], route_class=AdminRoute)


_PATH = "/api/v1/rollout"


@routes.head(_PATH, include_in_schema=False)
@routes.get(_PATH, responses=problems(401, 404, 422))
async def show_rollout(
    services: ServicesDep,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    looks: Annotated[int, Query(ge=0, le=10_000)] = 1,
) -> RolloutBody:
    """The share in force, who set it, the plan, both arms' figures, what the guard saw, and the
    newest changes; `ETag` names the last of them. `looks` is how many of the guard's are shown.
    """
    return _shown(await services.show_rollout(limit, looks), response)


@routes.put(_PATH, responses=problems(400, 401, 403, 404, 409, 412, 413, 415, 422, 428, 503))
async def set_share(
    body: Change,
    services: ServicesDep,
    user: UserDep,
    response: Response,
    if_match: Annotated[str | None, Header(alias="If-Match")] = None,
) -> RolloutBody:
    """Change the share, start a plan, or hold, resume (`running`) or stop the one that was started.

    `If-Match` carries the `ETag` of what is replaced, or `*` for anything.
    """
    if if_match is None:
        raise Problem(428, "if_match_required", "Send If-Match with the ETag that you have read.")
    after = None
    if if_match != "*":
        match = _NUMBER.fullmatch(if_match)
        if match is None:  # an ETag that we never gave
            raise Outdated
        after = int(match[1])
    match body:
        case NewShare():
            await services.set_share(user.id, body.share, body.why, after=after)
        case NewState():
            await services.steer_plan(user.id, body.state, body.why, after=after)
        case NewPlan():
            await services.start_plan(user.id, body.parsed(), body.why, after=after)
    return _shown(await services.show_rollout(), response)


def _shown(view: RolloutView, response: Response) -> RolloutBody:
    if view.history is not None:
        response.headers["ETag"] = f'"{view.number}"'
    return RolloutBody.of(view)


@routes.get(
    f"{_PATH}/outcomes",
    response_class=Response,
    responses={
        200: {"content": {"application/jsonl": {}, "text/csv": {}}},
        **problems(401, 404, 422, 503),
    },
)
async def export_outcomes(
    request: Request,
    services: ServicesDep,
    kind: Annotated[ExportFormat, Query(alias="format")] = "jsonl",
    rollout: Annotated[str | None, Query(max_length=128)] = None,
) -> Response:
    """How each job went, of one rollout or of all: no text, and of each user a keyed hash."""
    parts = await services.export_outcomes(kind, rollout)
    reset: Callable[[], None] = request.scope["extensions"][RESET]
    return StreamingResponse(_whole_or_cut(parts, reset), media_type=_TYPES[kind])


_TYPES: Mapping[ExportFormat, str] = {"jsonl": "application/jsonl", "csv": "text/csv"}


async def _whole_or_cut(
    parts: AsyncGenerator[bytes, None], reset: Callable[[], None]
) -> AsyncGenerator[bytes, None]:
    """A proper end would be taken for the end of the outcomes."""
    async with aclosing(parts):
        try:
            async for part in parts:
                yield part
        except Unavailable:
            reset()
