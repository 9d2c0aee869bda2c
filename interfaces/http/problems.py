"""What goes wrong before a stream starts, as `application/problem+json`.

`str(error)` never reaches a client, but for Conflict and Refused, whose texts are public by
their contract.
"""

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from sluice.application.tracebacks import format_traceback
from sluice.domain.errors import (
    Conflict,
    Expired,
    LimitReached,
    NotFound,
    Outdated,
    Refused,
    Unavailable,
)
from sluice.interfaces.http.models import BRANCHES

logger = logging.getLogger(__name__)

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_LONGEST_NAME = 100
_LONGEST_REASON = 300


class ProblemBody(BaseModel):
    """RFC 9457. `code` is stable, `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


class ProblemResponse(JSONResponse):
    media_type = "application/problem+json"


class Problem(HTTPException):
    """A request that cannot be served, with its public face; `field` is what is wrong of it."""

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, detail, headers)
        self.code = code
        self.field: str | None = None

    def response(self, request_id: str) -> Response:
        body = ProblemBody(
            type="about:blank",
            title=HTTPStatus(self.status_code).phrase,
            status=self.status_code,
            detail=self.detail,
            code=self.code,
            request_id=request_id,
        )
        return ProblemResponse(body.model_dump(), self.status_code, self.headers)


Form = Callable[[Problem, str], Response]
"""Of a problem and the request's id."""


def wrong(field: str, why: str) -> Problem:
    """A field's value is refused. The name comes from the client, so it may hold anything."""
    name = repr(field[:_LONGEST_NAME])[1:-1]
    problem = Problem(422, "invalid_field", f"{name or 'body'}: {why}")
    problem.field = name or None
    return problem


def too_large() -> Problem:
    return Problem(413, "too_large", "The message is too large.")


def _busy(error: LimitReached) -> Problem:
    headers = {"Retry-After": str(error.retry_after)}
    if error.per_user:
        return Problem(429, "too_many_requests", "You have too much open at once.", headers)
    return Problem(503, "busy", "The service is busy. Please try again in a moment.", headers)


def _invalid(error: RequestValidationError) -> Problem:
    first = error.errors()[0]
    path = [str(part) for part in first["loc"][1:]]
    if path and path[0] in BRANCHES:
        path.pop(0)
    return wrong(".".join(path), first["msg"].removeprefix("Value error, "))


def _refused(error: Refused) -> Problem:
    return wrong(f"value.{error.field}" if error.field else "value", str(error)[:_LONGEST_REASON])


def _http(error: HTTPException) -> Problem:
    status = HTTPStatus(error.status_code)
    if status == HTTPStatus.NOT_FOUND:
        return _PROBLEMS[NotFound](error)
    return Problem(status, status.name.lower(), status.description or status.phrase, error.headers)


_PROBLEMS: dict[type[Exception], Callable[[Any], Problem]] = {
    Problem: lambda error: error,
    NotFound: lambda _: Problem(404, "not_found", "There is nothing here, or it is not yours."),
    Conflict: lambda error: Problem(409, "conflict", str(error)),
    Expired: lambda _: Problem(410, "expired", "It came too late: nobody waits for it any more."),
    Refused: _refused,
    Outdated: lambda _: Problem(
        412, "outdated", "It was changed since you read it. Please look at it again."
    ),
    LimitReached: _busy,
    Unavailable: lambda _: Problem(
        503, "unavailable", "This is not possible right now. Please try again in a moment.",
        {"Retry-After": "2"},
    ),
    RequestValidationError: _invalid,
    HTTPException: _http,
    Exception: lambda _: Problem(500, "internal", "Something went wrong. Please try again."),
}  # fmt: skip


FORESEEN = tuple(kind for kind in _PROBLEMS if kind is not Exception)


def answer_problems(app: FastAPI) -> None:
    for kind in _PROBLEMS:
        app.add_exception_handler(kind, answer)


def problem_of(error: Exception, request_id: str) -> Problem:
    """What a client may be told; of what nobody foresaw the log has the rest."""
    kind = next(kind for kind in type(error).__mro__ if kind in _PROBLEMS)
    if kind is Exception:
        logger.error("request %s crashed: %s", request_id, format_traceback(error))
    return _PROBLEMS[kind](error)


async def answer(request: Request, error: Exception) -> Response:
    """`request.state.problem_form`: how the request's protocol tells problems, if not as we do."""
    request_id = request.state.request_id
    problem = problem_of(error, request_id)
    if problem.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        if allowed := _allowed(request):  # none below a mount, which names its own
            problem.headers = {"Allow": ", ".join(allowed)}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=problem.headers)
    form: Form = getattr(request.state, "problem_form", Problem.response)
    return form(problem, request_id)


def _allowed(request: Request) -> list[str]:
    """The router names those of one route only, but a path may have several."""
    scopes = {method: {**request.scope, "method": method} for method in _METHODS}
    return [
        method
        for method, scope in scopes.items()
        if any(route.matches(scope)[0] == Match.FULL for route in request.app.routes)
    ]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {ProblemResponse.media_type: {"schema": schema}},
        }
        for status in statuses
    }


def describe_problems(document: dict[str, Any]) -> None:
    """FastAPI describes refusals of its own form, wherever there is a parameter."""
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = ProblemBody.model_json_schema()
    for operations in document["paths"].values():
        for operation in operations.values():
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                del operation["responses"]["422"]
