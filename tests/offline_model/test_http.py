"""The offline model as a careless client sees it, and how it is started."""

import asyncio
import json
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError

from sluice.offline_model import (
    OfflineModel,
    OfflineModelThread,
    Reply,
    wire,
)

from .socket_client import QUESTION, STREAM, ask, connect, exchange, request

HELLO: Any = [{"role": "user", "content": "안녕하세요"}]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"temperature": None}, "temperature"),
        ({"tools": None}, "tools"),
        ({"model": None}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [3]}, "messages[0]"),
        ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 2}, "n"),
        ({"temperature": 3}, "temperature"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format"),
    ],
)
async def test_a_bad_request_is_refused_and_the_field_named(
    model: OfflineModel, change: dict[str, Any], param: str
) -> None:
    seen = await ask(model.base_url, {**QUESTION, **change})
    error = json.loads(seen.body)["error"]
    assert (seen.status, error["param"], error["type"]) == (400, param, "invalid_request_error")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
    ],
)
async def test_a_body_that_is_no_json_object_is_refused(model: OfflineModel, body: bytes) -> None:
    assert (await ask(model.base_url, body)).status == 400


@pytest.mark.parametrize(
    "schema", [{"$ref": "#/$defs/Missing"}, {"type": "object", "properties": [1]}, {"enum": []}]
)
async def test_a_schema_that_cannot_be_read_is_refused(
    client: AsyncOpenAI, schema: dict[str, object]
) -> None:
    with pytest.raises(BadRequestError, match="Invalid schema"):
        await client.chat.completions.create(
            model="any",
            messages=HELLO,
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": schema},
            },
        )


async def test_a_connection_serves_one_request_after_the_other(model: OfflineModel) -> None:
    reader, writer = await connect(model.base_url)
    model.script(Reply(["one"]), Reply(["two"]))
    assert (await exchange(reader, writer, request(STREAM))).text == "one"
    assert (await exchange(reader, writer, request(STREAM))).text == "two"
    health = await exchange(reader, writer, request(b"", "/healthz", "GET"))
    assert (health.status, health.body) == (200, b'{"status":"ok"}')
    assert (await exchange(reader, writer, request(b"", "/v2", "GET"))).status == 404
    assert (await exchange(reader, writer, request(b"", "/healthz", "POST"))).status == 404
    assert model.connections == 1
    writer.close()


async def test_a_large_body_waits_for_its_100_continue(model: OfflineModel) -> None:
    reader, writer = await connect(model.base_url)
    head, _, body = request(STREAM).partition(b"\r\n\r\n")
    writer.write(head + b"\r\nexpect: 100-continue\r\n\r\n")
    async with asyncio.timeout(5):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    assert (await exchange(reader, writer, body)).status == 200
    writer.close()


async def test_a_body_beyond_the_bound_is_refused_unread(
    model: OfflineModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MAX_BODY", 10)
    assert (await ask(model.base_url)).status == 413


async def test_what_is_no_http_is_answered_400_and_hung_up_on(model: OfflineModel) -> None:
    reader, writer = await connect(model.base_url)
    writer.write(b"what?\r\n\r\n")
    async with asyncio.timeout(5):
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()


async def test_it_runs_in_a_thread_of_its_own() -> None:
    thread = OfflineModelThread(pace=0)
    seen = await ask(await asyncio.to_thread(thread.start))
    await asyncio.to_thread(thread.stop)
    assert (seen.finish_reasons, thread.model.closed) == (["stop"], 1)


async def test_a_thread_whose_port_is_taken_says_so_and_ends(model: OfflineModel) -> None:
    port = int(model.base_url.removesuffix("/v1").rpartition(":")[2])
    thread = OfflineModelThread()
    with pytest.raises(OSError, match="in use"):
        await asyncio.to_thread(thread.start, "127.0.0.1", port)
