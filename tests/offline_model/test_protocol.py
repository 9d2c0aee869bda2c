"""The offline model as the official SDK sees it, and as a careless client sees it."""

import asyncio
import json
from typing import Any, Literal

import pytest
from openai import AsyncOpenAI, BadRequestError, RateLimitError
from openai.types.chat import ChatCompletionMessageFunctionToolCall
from pydantic import BaseModel

from infrastructure.offline_model import (
    CANARY,
    Fault,
    OfflineModel,
    OfflineModelThread,
    Reply,
    Usage,
    serve,
    wire,
)

from .socket_client import QUESTION, STREAM, ask, connect, exchange, request

HELLO: Any = [{"role": "user", "content": "안녕하세요"}]
PIECES = ["무색", " 페트", "병은", " 👩‍👩‍👧‍👦", "."]


async def test_a_stream_names_the_role_speaks_finishes_and_counts(
    model: OfflineModel, client: AsyncOpenAI
) -> None:
    model.script(Reply(PIECES))
    stream = await client.chat.completions.create(
        model="any", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    async with stream:
        chunks = [chunk async for chunk in stream]
    first, *middle, last, usage = chunks
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert [chunk.choices[0].delta.content for chunk in middle] == PIECES
    assert {chunk.choices[0].finish_reason for chunk in (first, *middle)} == {None}
    assert (last.choices[0].finish_reason, last.choices[0].delta.content) == ("stop", None)
    assert usage.choices == []
    assert usage.usage is not None
    assert usage.usage.completion_tokens == len(PIECES)
    assert usage.usage.total_tokens == usage.usage.prompt_tokens + len(PIECES)
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert {(chunk.object, chunk.model) for chunk in chunks} == {("chat.completion.chunk", "any")}


async def test_the_stream_on_the_wire_is_that_of_the_protocol(model: OfflineModel) -> None:
    model.script(Reply(["a"]))
    seen = await ask(model.base_url)
    assert seen.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert seen.headers["transfer-encoding"] == "chunked"
    assert [set(chunk) for chunk in seen.chunks] == 3 * [
        {"id", "object", "created", "model", "system_fingerprint", "choices"}
    ]
    assert [set(chunk["choices"][0]) for chunk in seen.chunks] == 3 * [
        {"index", "delta", "logprobs", "finish_reason"}
    ]
    assert seen.body.endswith(b"}\n\ndata: [DONE]\n\n")
    assert all(line.startswith(b"data: ") for line in seen.body.split(b"\n\n")[:-1])


async def test_a_whole_answer_is_what_the_stream_would_have_said(
    model: OfflineModel, client: AsyncOpenAI
) -> None:
    model.script(Reply(PIECES, usage=Usage(3, 4)))
    whole = await client.chat.completions.create(model="any", messages=HELLO)
    assert whole.choices[0].message.content == "".join(PIECES)
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert whole.usage.total_tokens == 7


async def test_usage_can_be_kept_back(model: OfflineModel, client: AsyncOpenAI) -> None:
    model.script(Reply(PIECES, usage=None))
    assert (await client.chat.completions.create(model="any", messages=HELLO)).usage is None


async def test_the_answer_ends_where_the_client_wants_no_more(client: AsyncOpenAI) -> None:
    short = await client.chat.completions.create(
        model="any", messages=HELLO, max_completion_tokens=2
    )
    assert short.choices[0].finish_reason == "length"
    assert short.choices[0].message.content == "안녕하세"


async def test_a_scripted_tool_call_streams_its_arguments_in_parts(
    model: OfflineModel, client: AsyncOpenAI
) -> None:
    model.script(*2 * [Reply.calling("look_up", {"query": "무색 페트병"})])
    seen = await ask(model.base_url)
    calls = [call for delta in seen.deltas for call in delta.get("tool_calls", ())]
    assert calls[0]["function"] == {"name": "look_up", "arguments": ""}
    assert len(calls) > 3
    whole = await client.chat.completions.create(model="any", messages=HELLO)
    (call,) = list(whole.choices[0].message.tool_calls or ())
    assert isinstance(call, ChatCompletionMessageFunctionToolCall)
    assert json.loads(call.function.arguments) == {"query": "무색 페트병"}
    assert whole.choices[0].finish_reason == "tool_calls"


async def test_pieces_can_be_text_deltas_and_raw_payloads(model: OfflineModel) -> None:
    model.script(Reply(["a", {"reasoning_content": "hm"}, b'{"choices":[]}', "b"]))
    seen = await ask(model.base_url)
    assert seen.text == "ab"
    assert {"reasoning_content": "hm"} in seen.deltas
    assert b'{"choices":[]}' in seen.lines


class Verdict(BaseModel):
    kind: Literal["greeting", "question"]
    sure: bool


@pytest.mark.parametrize("stream", [True, False])
async def test_structured_output_parses(client: AsyncOpenAI, stream: bool) -> None:
    if stream:
        async with client.chat.completions.stream(
            model="any", messages=HELLO, response_format=Verdict
        ) as events:
            parsed = (await events.get_final_completion()).choices[0].message.parsed
    else:
        whole = await client.chat.completions.parse(
            model="any", messages=HELLO, response_format=Verdict
        )
        parsed = whole.choices[0].message.parsed
    assert parsed == Verdict(kind="greeting", sure=False)


async def test_the_models_are_listed(client: AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["sluice-offline"]


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


async def test_the_sdk_repeats_a_refused_call_and_the_server_counts_that(
    model: OfflineModel, client: AsyncOpenAI
) -> None:
    model.script(*3 * [Reply(fault=Fault.RATE_LIMITED_BRIEFLY)])
    with pytest.raises(RateLimitError, match=CANARY):
        await client.with_options(max_retries=2).chat.completions.create(
            model="any", messages=HELLO
        )
    assert (model.opened, model.retries) == (3, 2)


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


async def test_serving_goes_on_until_it_is_cancelled(free_tcp_port: int) -> None:
    task = asyncio.create_task(serve("127.0.0.1", free_tcp_port, 0, Fault.SERVER_ERROR))
    async with asyncio.timeout(5):
        while True:
            try:
                seen = await ask(f"http://127.0.0.1:{free_tcp_port}/v1")
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0)
    assert seen.status == 500
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
