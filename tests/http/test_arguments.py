"""What a plan finds for a function's arguments: what FastAPI finds, and the same errors."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Optional

import httpx2
import pytest
from fastapi import Depends, FastAPI, Header, Path, Query
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from sluice.interfaces.http.arguments import NO_BODY, plan_of

Sent = tuple[str, dict[str, str], Any]
"""What follows `/chats/`, headers, body."""


class Asked(BaseModel):
    text: str = Field(max_length=3)
    count: int = 0


def address(request: Request) -> str:
    """Asks for the request alone."""
    return request.url.path


def nothing() -> str:
    return "nothing"


async def later(request: Request) -> str:
    return f"later {request.url.path}"


async def start(request: Request, start: int = 1) -> int:
    return start + len(request.url.path)


def double(n: Annotated[int, Query(alias="number")], start: Annotated[int, Depends(start)]) -> int:
    return 2 * n + start


class Who:
    def __init__(
        self, request: Request, name: Annotated[str | None, Header(alias="X-Name")]
    ) -> None:
        self.name, self.path = name, request.url.path

    def __repr__(self) -> str:
        return f"{self.name} {self.path}"


async def everything(
    request: Request,
    body: Asked,
    kind: Literal["a", "b"],
    chat: Annotated[str, Path(alias="chat_id", min_length=2)],
    turn: int,
    address: Annotated[str, Depends(address)],
    nothing: Annotated[str, Depends(nothing)],
    later: Annotated[str, Depends(later)],
    double: Annotated[int, Depends(double)],
    who: Annotated[Who, Depends(Who)],
    key: Annotated[str | None, Header(alias="X-Key", min_length=1)] = None,
    up_to: Annotated[float, Query(alias="up-to", le=9)] = 3,
    flag: bool = False,
) -> Response:
    given = (body, kind, chat, turn, address, nothing, later, double, who, key, up_to, flag)
    return JSONResponse([request.method, *map(repr, given)])


async def body_or_none(body: Asked | None = None, other: Optional[str] = None) -> Response:  # noqa: UP045 - users may write it so
    return JSONResponse([repr(body), other])


async def nothing_but_a_body(body: Asked) -> Response:
    return JSONResponse(repr(body))


async def told(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return JSONResponse(jsonable_encoder(error.errors()), 422)


def served(path: str, function: Callable[..., Any], *, by_fastapi: bool) -> ASGIApp:
    app = FastAPI(exception_handlers={RequestValidationError: told})
    if by_fastapi:
        app.add_api_route(path, function, methods=["POST"])
        return app
    plan = plan_of(function, path)
    assert plan is not None

    async def handle(request: Request) -> Response:
        body = await request.json() if plan.wants_body and await request.body() else NO_BODY
        response: Response = await plan(request, body)
        return response

    app.add_route(path, handle, methods=["POST"])
    return app


async def answer(app: ASGIApp, sent: Sent) -> tuple[int, Any]:
    to, headers, body = sent
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app), base_url="http://sluice"
    ) as client:
        given = {} if body is None else {"json": body}
        got = await client.post(f"/chats/{to}", headers=headers, **given)
    return got.status_code, got.json()


NAMED = {"X-Name": "ann"}
BODY = {"text": "abc"}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (("c1/2?kind=a&number=3", NAMED, BODY), 200),
        (
            (
                "c1/2?kind=b&number=3&start=4&up-to=1.5&flag=true",
                {**NAMED, "X-Key": "k"},
                {"text": "a", "count": "7"},
            ),
            200,
        ),
        (("c1/2?kind=a&number=3", {**NAMED, "X-Key": ""}, BODY), 422),
        (("c/x?kind=c&number=y&start=z&up-to=10&flag=perhaps", {}, {"text": "abcd"}), 422),
        (("c1/2", {}, None), 422),
        (("c1/2?kind=a&number=3", NAMED, {"count": "x"}), 422),
        (("c1/2?kind=a&number=3", NAMED, [1]), 422),
        (("c1/2?kind=a&start=z", {}, BODY), 422),
        (("c1/2?kind=a&number=y", NAMED, BODY), 422),
    ],
)
async def test_every_argument_and_every_error_is_fastapis(sent: Sent, status: int) -> None:
    path = "/chats/{chat_id}/{turn}"
    past = await answer(served(path, everything, by_fastapi=False), sent)
    assert past == await answer(served(path, everything, by_fastapi=True), sent)
    assert past[0] == status


@pytest.mark.parametrize("sent", [("", {}, None), ("", {}, BODY), ("?other=x", {}, {"text": 1})])
@pytest.mark.parametrize("function", [body_or_none, nothing_but_a_body])
async def test_a_body_may_be_left_out_where_it_has_a_default(
    function: Callable[..., Any], sent: Sent
) -> None:
    past = await answer(served("/chats/", function, by_fastapi=False), sent)
    assert past == await answer(served("/chats/", function, by_fastapi=True), sent)


async def test_who_wants_no_body_is_given_none() -> None:
    async def asks_nothing(name: str = "ann") -> Response:
        return JSONResponse(name)

    plan = plan_of(asks_nothing, "/")
    assert plan is not None
    assert not plan.wants_body
    with_body = plan_of(nothing_but_a_body, "/")
    assert with_body is not None
    assert with_body.wants_body
