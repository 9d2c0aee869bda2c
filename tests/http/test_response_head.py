"""The head of a response: written as uvicorn writes it, with each field looked at once."""

import logging
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from opentelemetry import trace
from opentelemetry.metrics import _internal as metrics
from pytest_mock import MockerFixture
from starlette.datastructures import Headers
from starlette.responses import Response
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from sluice.domain.events import Done
from sluice.interfaces.http import app
from sluice.interfaces.http.headers import FoundHeaders
from sluice.interfaces.http.server import connection, cycle
from sluice.interfaces.http.server.cycle import Cycle
from sluice.interfaces.protocols.native.routes import _Json
from tests.http.house import House, serving

Fields = Iterable[tuple[bytes, bytes]]
STATE = ("keep_alive", "chunked_encoding", "expected_content_length", "response_started")


async def head(
    kind: type[RequestResponseCycle],
    fields: Fields,
    *,
    method: str = "GET",
    status: int = 200,
    keep_alive: bool = True,
    chunked: bool | None = None,
) -> list[Any]:
    """What is written, and what is known of the body behind it, or the error."""
    wrote: list[bytes] = []
    made: Any = kind(
        scope={"method": method},  # type: ignore[typeddict-item]
        transport=SimpleNamespace(write=wrote.append),  # type: ignore[arg-type]
        flow=SimpleNamespace(write_paused=False),  # type: ignore[arg-type]
        logger=logging.getLogger("a"),
        access_logger=logging.getLogger("a"),
        access_log=False,
        default_headers=[(b"date", b"today")],
        message_event=SimpleNamespace(),  # type: ignore[arg-type]
        expect_100_continue=True,
        keep_alive=keep_alive,
        on_response=lambda: None,
    )
    made.chunked_encoding = chunked
    try:
        await made.send({"type": "http.response.start", "status": status, "headers": fields})
    except (RuntimeError, ValueError) as error:
        wrote.append(str(error).encode())
    return [wrote, *(getattr(made, name) for name in STATE), made.waiting_for_100_continue]


@pytest.mark.parametrize("keep_alive", [True, False])
@pytest.mark.parametrize("chunked", [None, False])
@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("GET", 204)])
@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"X-Given", b"a"), (b"x-given", b"b")],
        [(b"Content-Length", b"7")],
        [(b"content-length", b"7"), (b"content-length", b"8")],
        [(b"content-length", b"x")],
        [(b"connection", b"keep-alive, Close")],
        [(b"connection", b"closed")],
        [(b"connection", b"close"), (b"connection", b"x")],
        [(b"transfer-encoding", b"chunked")],
        [(b"transfer-encoding", b"gzip"), (b"content-length", b"7")],
        [(b"a b", b"x")],
        [(b"a", b"x\r\nb: y")],
    ],
)
async def test_it_is_uvicorns(
    fields: Fields, method: str, status: int, chunked: bool | None, keep_alive: bool
) -> None:
    given: Any = {"method": method, "status": status, "keep_alive": keep_alive, "chunked": chunked}
    assert await head(Cycle, fields, **given) == await head(RequestResponseCycle, fields, **given)


async def test_a_field_that_was_written_before_is_not_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[bytes] = []
    pattern = SimpleNamespace(search=looked.append)
    monkeypatch.setattr(httptools_impl, "HEADER_VALUE_RE", pattern)
    cycle._field.cache_clear()
    for value in (b"a", b"a", b"b"):
        await head(Cycle, [(b"x-given", value)])
    assert looked == [b"today", b"a", b"b"]
    cycle._field.cache_clear()


@pytest.mark.parametrize("known", [True, False])
async def test_every_response_is_written_so_if_uvicorn_is_as_we_know_it(
    known: bool, monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture
) -> None:
    monkeypatch.setattr(connection, "KNOWN", known)
    begun = mocker.spy(Cycle, "_begin")
    async with serving(Done("A2", "")) as house:
        assert (await chat_opened(house)).status_code == 201
    assert begun.call_count == known


async def chat_opened(house: House) -> httpx2.Response:
    return await house.client.post("/api/v1/chat", json={})


@pytest.mark.parametrize("observed", [None, "trace", "metrics", "environment"])
async def test_fastapi_is_asked_who_observes_where_somebody_may(
    observed: str | None, monkeypatch: pytest.MonkeyPatch, mocker: MockerFixture
) -> None:
    provider = object()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider if observed == "trace" else None)
    monkeypatch.setattr(metrics, "_METER_PROVIDER", provider if observed == "metrics" else None)
    monkeypatch.setattr(app, "_BY_ENVIRONMENT", observed == "environment")
    asked = mocker.patch("fastapi.telemetry._asgi.NativeTelemetry.enabled", return_value=False)
    async with serving(Done("A2", "")) as house:
        assert (await chat_opened(house)).status_code == 201
    assert bool(asked.call_count) == (observed is not None)


def test_a_requests_header_is_the_first_of_its_name() -> None:
    raw = [(b"a", b"1"), (b"b", b"\xe9"), (b"a", b"2")]
    found, starlettes = FoundHeaders({"headers": raw}), Headers(raw=raw)
    for name in ("a", "A", "b", "c"):
        assert found.get(name) == starlettes.get(name)
    assert found.get("c", "else") == "else"
    assert found.getlist("a") == ["1", "2"]


def test_an_answer_in_json_has_starlettes_headers() -> None:
    given = '{"a": "é"}', 202, {"Location": "/a"}
    assert _Json(*given).raw_headers == Response(*given, "application/json").raw_headers
