"""The offline model as the official SDK sees it."""

import json
from typing import Any, Literal

import pytest
from openai import AsyncOpenAI, RateLimitError
from openai.types.chat import ChatCompletionMessageFunctionToolCall
from pydantic import BaseModel

from sluice.offline_model import (
    CANARY,
    Fault,
    OfflineModel,
    Reply,
    Usage,
)

from .socket_client import ask

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


async def test_the_sdk_repeats_a_refused_call_and_the_server_counts_that(
    model: OfflineModel, client: AsyncOpenAI
) -> None:
    model.script(*3 * [Reply(fault=Fault.RATE_LIMITED_BRIEFLY)])
    with pytest.raises(RateLimitError, match=CANARY):
        await client.with_options(max_retries=2).chat.completions.create(
            model="any", messages=HELLO
        )
    assert (model.opened, model.retries) == (3, 2)
