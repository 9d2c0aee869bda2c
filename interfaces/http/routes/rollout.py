"""The share of users who take A2, looked at and changed by operators while the service runs."""

import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from datetime import datetime
from ipaddress import ip_address
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import StreamingResponse

from sluice.application.export import ExportFormat
from sluice.application.rollout import RolloutView
from sluice.domain.errors import NotFound, Outdated, Unavailable
from sluice.interfaces.http.auth.identity import User
from sluice.interfaces.http.json_request import ApiRoute
from sluice.interfaces.http.models import Asked, FlagBody, Text
from sluice.interfaces.http.problems import Problem, problems
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


class NewShare(Asked):
    """`share` is in percent; null gives it back to the flag provider or the environment."""

    share: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None
    why: Annotated[Text, Field(max_length=500)] | None = None


class ChangeBody(BaseModel):
    """`from` is the share that was in force before, whoever had set it."""

    number: int
    at: datetime
    by: str
    before: float = Field(serialization_alias="from")
    after: float | None = Field(serialization_alias="to")
    why: str | None
    rollout: str


class RolloutBody(FlagBody):
    """`environment` is what ENABLE_TOKEN_STREAMING says.

    `history` has the newest change first; it is null while its store is away.
    """

    environment: str
    history: list[ChangeBody] | None

    @classmethod
    def of(cls, view: RolloutView) -> "RolloutBody":
        environment, flag = view.environment, view.flag
        switch = "true" if environment.percent else "false"
        changes = view.history
        return cls(
            **FlagBody.model_validate(flag, from_attributes=True).model_dump(),
            environment=switch if environment.fixed else f"{environment.percent:g}%",
            history=None
            if changes is None
            else [ChangeBody.model_validate(one, from_attributes=True) for one in changes],
        )


_PATH = "/api/v1/rollout"


@routes.head(_PATH, include_in_schema=False)
@routes.get(_PATH, responses=problems(401, 404, 422))
async def show_rollout(
    services: ServicesDep,
    response: Response,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
) -> RolloutBody:
    """The share in force, who set it, and the newest changes; `ETag` names the last of them."""
    return _shown(await services.show_rollout(limit), response)


@routes.put(_PATH, responses=problems(400, 401, 403, 404, 409, 412, 413, 415, 422, 428, 503))
async def set_share(
    body: NewShare,
    services: ServicesDep,
    user: UserDep,
    response: Response,
    if_match: Annotated[str | None, Header(alias="If-Match")] = None,
) -> RolloutBody:
    """Change the share. `If-Match` carries the `ETag` of what is replaced, or `*` for anything."""
    if if_match is None:
        raise Problem(428, "if_match_required", "Send If-Match with the ETag that you have read.")
    after = None
    if if_match.strip() != "*":
        match = _NUMBER.fullmatch(if_match.strip())
        if match is None:  # an ETag that we never gave
            raise Outdated
        after = int(match[1])
    await services.set_share(user.id, body.share, body.why, after=after)
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
