"""Routes that are answered past FastAPI: which, and that nobody can tell."""

import json
import re
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Header, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from sluice.domain.errors import NotFound
from sluice.domain.events import Done, Token
from sluice.interfaces.http.arguments import plan_of
from sluice.interfaces.http.direct_routes import DirectRoutes
from sluice.interfaces.http.json_request import ApiRoute, Endpoint
from sluice.interfaces.http.problems import answer_problems
from sluice.interfaces.protocols.served import PROTOCOLS
from tests.http.house import House, serving

JSON = {"Content-Type": "application/json"}
NOBODY = "n" * 22
_ID = re.compile(r"[A-Za-z0-9_-]{22,}")
PLAYS = Token("a", "answer"), Done("A2", "a")

Sent = tuple[str, str, dict[str, str], bytes]
"""Method, path, headers, body."""


def asking(body: Any, chat: str = "", **headers: str) -> Sent:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
    return ("POST", f"/api/v1/chat{chat}", given, sent)


OPENING: dict[str, Sent] = {
    "no body": ("POST", "/api/v1/chat", {}, b""),
    "no body but its type": asking(b""),
    "null": asking(None),
    "a title": asking({"title": "한글 \x7f \"' \u2028"}),
    "a long title": asking({"title": "x" * 201}),
    "another field": asking({"title": "x", "name": 1}),
    "a question": asking({"message": "Why?"}),
    "a blank question": asking({"message": " "}),
    "a number for a question": asking({"message": 1}),
    "a session that is too long": asking({"message": "a", "session_id": "x" * 129}),
    "another model": asking({"message": "a", "model": "other"}),
    "NUL": asking({"message": "\0"}),
    "a list": asking([1]),
    "a text": asking("a"),
    "no JSON": asking(b"{"),
    "no UTF-8": asking(b'{"message": "\xff"}'),
    "twice": asking(b'{"message": "a", "message": "b"}'),
    "nested too deeply": asking(b"[" * 100_000),
    "another type": asking({"message": "a"}, Content_Type="text/plain"),
    "a form of JSON": asking({"message": "a"}, Content_Type="application/x+json; charset=utf-8"),
    "no form of JSON": asking({"message": "a"}, Content_Type="text/x+json"),
    "no slash": asking({"message": "a"}, Content_Type="x+json"),
    "an empty type": asking({"message": "a"}, Content_Type=""),
    "packed": asking({"message": "a"}, Content_Encoding="gzip"),
    "too large": asking({"message": "a" * 80_000}),
    "far too large": asking({"message": "a" * 500_000}),
    "an empty key": asking({"message": "a"}, Idempotency_Key=""),
    "a long key": asking({"message": "a"}, Idempotency_Key="x" * 256),
    "a key of one": asking({"message": "a"}, Idempotency_Key="x"),
    "a wrong key and a wrong body": asking({"message": 1}, Idempotency_Key=""),
    "a wrong path": asking({"message": "a"}, X_Sluice_Path="A3"),
    "a wrong path and a wrong body": asking({"message": 1}, X_Sluice_Path="A3"),
    "another page": asking({"message": "a"}, Origin="https://other.example"),
    "an allowed page": asking({"message": "a"}, Origin="https://page.example"),
    "a stream": asking({"message": "a"}, Accept="text/event-stream"),
    "a stream of nothing": asking(None, Accept="text/event-stream"),
}
ASKING: dict[str, Sent] = {
    "no chat": asking({"message": "a"}, f"/{NOBODY}/messages"),
    "no id": asking({"message": "a"}, "/!/messages"),
    "no id and no body": asking(b"", "/!/messages"),
    "no id and a wrong key": asking({"message": "a"}, "/!/messages", Idempotency_Key=""),
    "a newline behind the path": asking({"message": "a"}, f"/{NOBODY}/messages%0A"),
    "a slash behind the path": asking({"message": "a"}, f"/{NOBODY}/messages/"),
    "asked": asking({"message": "a"}, "/{chat}/messages"),
    "asked again": asking({"retry_of": "{job}"}, "/{chat}/messages"),
    "asked again for nothing": asking({"retry_of": NOBODY}, "/{chat}/messages"),
    "asked twice": asking({"retry_of": "x", "message": "a"}, "/{chat}/messages"),
    "nothing": asking(b"", "/{chat}/messages"),
    "null in a chat": asking(None, "/{chat}/messages"),
    "a path of one's own": asking({"message": "a"}, "/{chat}/messages", X_Sluice_Path="A1"),
    "looked at": ("GET", "/api/v1/chat/{chat}/messages", {}, b""),
}
READING: dict[str, Sent] = {
    "read": ("GET", "/api/v1/chat/{job}/events", {}, b""),
    "read from a cursor": ("GET", "/api/v1/chat/{job}/events", {"Last-Event-ID": "1-2"}, b""),
    "read from the query": ("GET", "/api/v1/chat/{job}/events?last_event_id=1-2", {}, b""),
    "read from nowhere": ("GET", "/api/v1/chat/{job}/events?lastEventId=1&lastEventId=", {}, b""),
    "read with a body": ("GET", "/api/v1/chat/{job}/events", JSON, b"{"),
    "only the head": ("HEAD", "/api/v1/chat/{job}/events", {}, b""),
    "read as nobody": ("GET", f"/api/v1/chat/{NOBODY}/events", {}, b""),
    "read without an id": ("GET", "/api/v1/chat/!/events", {}, b""),
    "posted": ("POST", "/api/v1/chat/{job}/events", {}, b""),
    "asked what can be done": ("OPTIONS", "/api/v1/chat/{job}/events", {}, b""),
    "an answer of OpenAI's": (
        "POST", "/v1/chat/completions", JSON,
        b'{"model": "sluice", "messages": [{"role": "user", "content": "a"}]}',
    ),
    "no answer of OpenAI's": ("POST", "/v1/chat/completions", JSON, b'{"messages": 1}'),
    "AG-UI without a thread": ("GET", "/ag-ui", {}, b""),
    "AG-UI with a long name": ("GET", "/ag-ui?threadId=" + "x" * 300, {}, b""),
    "no approval of the AI SDK's": ("POST", "/api/chat?compat=7", JSON, b"{}"),
}  # fmt: skip
REQUESTS = OPENING | ASKING | READING


async def answer(house: House, request: Sent) -> tuple[Any, ...]:
    """Without what differs each time."""
    asked = await house.ask("Why?")
    await house.read(asked["job_id"])
    method, to, headers, body = request
    for name in ("chat", "job"):
        to = to.replace(f"{{{name}}}", asked[f"{name}_id"])
        body = body.replace(b"{%s}" % name.encode(), asked[f"{name}_id"].encode())
    got = await house.client.request(method, to, headers=headers, content=body)
    return got.status_code, _stable(got), _text(got)


def _stable(got: httpx2.Response) -> list[tuple[str, str]]:
    fields = [
        (name, re.sub(r"[A-Za-z0-9_-]{22,}", "ID", text)) for name, text in got.headers.items()
    ]
    return sorted(field for field in fields if field[0] not in ("date", "content-length"))


def _text(got: httpx2.Response) -> str:
    text = _ID.sub("ID", got.text)
    return re.sub(r'"created_at":"[^"]*"|"created":\d+', "TIME", text)


async def answers() -> dict[str, Any]:
    """All on one service, each in a chat of its own."""
    options: dict[str, Any] = {"models": frozenset(["m"]), "cors_origins": ["https://page.example"]}
    async with serving(*PLAYS, path_header=True, **options) as house:
        return {name: await answer(house, sent) for name, sent in REQUESTS.items()}


async def test_an_answer_is_the_same_past_fastapi(monkeypatch: pytest.MonkeyPatch) -> None:
    past = await answers()
    monkeypatch.setattr(DirectRoutes, "_find", lambda *_: None)
    assert past == await answers()
    assert {status for status, *_ in past.values()} >= {200, 201, 202, 400, 403, 404, 413, 422}


def found(app: FastAPI, method: str, path: str, **scope: Any) -> bool:
    given: Scope = {"type": "http", "method": method, "path": path, **scope}
    return DirectRoutes(app, app.routes)._find(given) is not None


def served(*routers: APIRouter) -> FastAPI:
    app = FastAPI()
    for router in routers:
        app.include_router(router)
    return app


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/chat"),
        ("POST", "/api/v1/chat/chat/messages"),
        ("GET", "/api/v1/chat/job/events"),
        ("HEAD", "/api/v1/chat/job/events"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/responses"),
        ("POST", "/api/chat"),
        ("POST", "/ag-ui"),
        ("POST", "/copilotkit/agent/default/run"),
        ("POST", "/langgraph/threads/thread/runs/stream"),
        ("POST", "/langgraph/threads/thread/stream/events"),
    ],
)
def test_the_routes_of_an_answer_are_direct(method: str, path: str) -> None:
    """A parameter of another kind would send them back to FastAPI, and nobody would notice."""
    app = served(*PROTOCOLS.values())
    assert found(app, method, path)
    assert not found(app, "OPTIONS", path)
    assert not found(app, method, f"{path}/")


def test_what_fastapi_traces_it_answers() -> None:
    """Its spans are made within its layers."""
    app = served(*PROTOCOLS.values())
    assert not found(app, "POST", "/api/v1/chat", **{"fastapi.telemetry": object()})


async def direct_route(name: str) -> Response:
    return PlainTextResponse(name)


async def of_fastapi(name: str) -> str:
    return name


async def refuses(name: str) -> Response:
    raise NotFound(name)


async def breaks(name: str) -> Response:
    raise RuntimeError(name)


async def tells_what_came(request: Request) -> Response:
    return PlainTextResponse(request.headers["host"].encode() + await request.body())


async def streams(name: str) -> StreamingResponse:
    """Its response looks out for a reader that leaves."""
    return StreamingResponse(iter([name]))


async def reads_by_fastapi(request: Request) -> str:
    return (await request.body()).decode()


class Known(ApiRoute):
    """Asks nobody who it is."""

    def around(self, handle: Endpoint) -> Endpoint:
        return handle


async def test_what_a_route_answers_or_raises_is_the_same_past_its_application() -> None:
    routes, asked = APIRouter(route_class=Known), list[str]()
    for path, route in (
        ("/direct/{name}", direct_route),
        ("/refuses/{name}", refuses),
        ("/breaks/{name}", breaks),
        ("/tells", tells_what_came),
        ("/streams/{name}", streams),
        ("/reads_by_fastapi", reads_by_fastapi),
        ("/of_fastapi/{name}", of_fastapi),
    ):
        routes.post(path)(route)
    app = served(routes)
    answer_problems(app)

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        await app(scope, receive, send)

    async def post(to: str, through: ASGIApp) -> tuple[int, str]:
        async def known(scope: Scope, receive: Receive, send: Send) -> None:
            await through({**scope, "state": {"request_id": "request"}}, receive, send)

        transport = httpx2.ASGITransport(known)
        async with httpx2.AsyncClient(transport=transport, base_url="http://sluice") as client:
            got = await client.post(to, content=b"body")
            return got.status_code, got.text

    past = DirectRoutes(counted, app.routes)
    by_fastapi = ["/of_fastapi/a", "/reads_by_fastapi", "/nowhere"]
    for path in ("/direct/a", "/refuses/a", "/tells", "/streams/a", *by_fastapi):
        assert await post(path, past) == await post(path, app)
    with pytest.raises(RuntimeError):
        await post("/breaks/a", past)
    assert asked == by_fastapi


def test_a_route_that_comes_first_is_the_one() -> None:
    routes = APIRouter(route_class=ApiRoute)
    routes.get("/a/same")(of_fastapi)
    routes.get("/a/{name}")(direct_route)
    routes.get("/b/{name:path}")(of_fastapi)
    routes.get("/b/{name}/last")(direct_route)
    routes.post("/c/{name}/own")(direct_route)
    routes.get("/c/{name}/own")(of_fastapi)
    routes.get("/c/{name}/own/last")(direct_route)
    app = served(routes)
    assert not found(app, "GET", "/a/same")
    assert found(app, "GET", "/a/other")
    assert not found(app, "GET", "/b/other/last")
    assert found(app, "POST", "/c/any/own")
    assert not found(app, "GET", "/c/any/own")
    assert found(app, "GET", "/c/any/own/last")
    assert not found(app, "GET", "/d/longer/than/any/route")
    assert not found(app, "GET", "/a/other", type="websocket")


class Body(BaseModel):
    name: str


async def cleaned_up() -> Any:
    yield 1


def put_away() -> Any:
    yield 1


def of_a_body(body: Body) -> str:
    return body.name


@pytest.mark.parametrize(
    "wanted",
    [
        Response,
        BackgroundTasks,
        list[str],
        list[Body],
        bytes,
        Annotated[str, Header()],
        Annotated[list[str], Query(alias="a")],
        Body,
        Annotated[str, Depends(of_a_body)],
        Annotated[Body, Depends()],
        Annotated[int, Depends(cleaned_up)],
        Annotated[int, Depends(put_away)],
        Annotated[int, Depends(lambda: 1, use_cache=False)],
        Annotated[int, Depends(lambda request: 1)],
    ],
)
def test_a_function_that_wants_more_has_no_plan(wanted: Any) -> None:
    async def wants(first: Body, given: Any) -> Response:
        raise NotImplementedError

    assert plan_of(wants, "/") is None
    wants.__annotations__["given"] = wanted
    assert plan_of(wants, "/") is None
    wants.__annotations__["given"] = Request
    assert plan_of(wants, "/") is not None


def test_nor_has_one_that_leaves_its_response_to_fastapi() -> None:
    assert plan_of(of_fastapi, "/") is None
    assert plan_of(lambda: None, "/") is None
