"""The Responses API, and Azure: no server of ours speaks them, so their bodies are given."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI
from pydantic import BaseModel

from sluice.domain.events import Usage
from sluice.infrastructure.openai_sdk.instrumentor import OpenAIInstrumentor

from .conftest import Run, chat_model
from .scripted import STOP, Answer, ScriptedServer, sse, texts

RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "m",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "status": "in_progress",
}
COST = {
    "input_tokens": 3,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 2,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 5,
}
PART = {"type": "output_text", "text": "", "annotations": []}
MESSAGE = {"id": "m1", "type": "message", "role": "assistant", "status": "in_progress"}
WHOLE = {**MESSAGE, "status": "completed", "content": [{**PART, "text": "ab"}]}
FUNCTION = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "weather",
    "arguments": "",
    "status": "in_progress",
}


def event(kind: str, **given: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "sequence_number": 1, **given}


def delta(kind: str, text: str, **given: Any) -> dict[str, Any]:
    at = {"item_id": "m1", "output_index": 0, **given}
    return event(f"{kind}.delta", delta=text, **at)


BEGIN = [
    event("created", response=RESPONSE),
    event("output_item.added", output_index=0, item={**MESSAGE, "content": []}),
    event("content_part.added", item_id="m1", output_index=0, content_index=0, part=PART),
]
SAID = [delta("output_text", text, content_index=0, logprobs=[]) for text in "ab"]


def end(status: str = "completed", **given: Any) -> dict[str, Any]:
    ended = {**RESPONSE, "output": [WHOLE], "usage": COST, "status": status, **given}
    return event(status, response=ended)


ANSWER = sse(*BEGIN, *SAID, end(), done=False)
BODIES = {
    "text": ANSWER,
    "incomplete": sse(
        *BEGIN, *SAID, end("incomplete", incomplete_details={"reason": "max_output_tokens"})
    ),
    "reasoning": sse(*BEGIN, delta("reasoning_summary_text", "hm", summary_index=0), *SAID, end()),
    "a function": sse(
        event("output_item.added", output_index=0, item=FUNCTION),
        delta("function_call_arguments", '{"city"', item_id="fc_1"),
        delta("function_call_arguments", ': "Paju"}', item_id="fc_1"),
        end(),
    ),
    "a refusal": sse(*BEGIN, delta("refusal", "No.", content_index=0), end()),
    "an event nobody knows": sse(*BEGIN, event("new_thing", value=[1]), *SAID, end()),
    "odd fields": sse(
        *BEGIN, {**SAID[0], "output_index": "0"}, *SAID[1:], end(status="odd"), end()
    ),
}


async def stream(client: AsyncOpenAI) -> list[Any]:
    return [one async for one in await client.responses.create(model="m", input="?", stream=True)]


async def helper(client: AsyncOpenAI) -> list[Any]:
    async with client.responses.stream(model="m", input="?") as events:
        return [one async for one in events]


async def raw(client: AsyncOpenAI) -> list[Any]:
    opened = await client.responses.with_raw_response.create(model="m", input="?", stream=True)
    return [one async for one in opened.parse()]


@pytest.fixture
def client_of(server: ScriptedServer) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=server.base_url, api_key="x", max_retries=0)


@pytest.mark.parametrize("way", [stream, helper, raw])
async def test_a_response_is_told_piece_by_piece(
    way: Callable[[AsyncOpenAI], Awaitable[list[Any]]],
    server: ScriptedServer,
    client_of: AsyncOpenAI,
    run: Run,
) -> None:
    server.plays(ANSWER)
    await way(client_of)
    assert run.teller.said == ["a", "b"]
    assert run.teller.ends == [(Usage(3, 2, 5), "stop")]


async def test_a_response_of_a_synchronous_client_is_told(server: ScriptedServer, run: Run) -> None:
    server.plays(ANSWER)

    def ask() -> None:
        with OpenAI(base_url=server.base_url, api_key="x") as client:
            for _ in client.responses.create(model="m", input="?", stream=True):
                pass

    await asyncio.to_thread(ask)
    assert run.teller.said == ["a", "b"]


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
async def test_events_are_the_sdks(
    name: str, server: ScriptedServer, client_of: AsyncOpenAI, instrumented: OpenAIInstrumentor
) -> None:
    server.plays(BODIES[name])
    alone = await stream(client_of)
    with Run().entered():
        heard = await stream(client_of)
    assert heard == alone
    assert list(map(repr, heard)) == list(map(repr, alone))
    assert [one.to_dict() for one in heard] == [one.to_dict() for one in alone]


async def test_what_is_no_text_is_told_apart(
    server: ScriptedServer, client_of: AsyncOpenAI, run: Run
) -> None:
    server.plays(BODIES["reasoning"], BODIES["a function"], BODIES["incomplete"])
    for _ in range(3):
        await stream(client_of)
    assert run.teller.reasoned == ["hm"]
    assert [(piece.id, piece.name) for piece in run.teller.tool_calls[:1]] == [
        ("call_1", "weather")
    ]
    assert "".join(p.arguments for p in run.teller.tool_calls) == '{"city": "Paju"}'
    assert [reason for _, reason in run.teller.ends] == ["stop", "tool_calls", "length"]


async def test_a_response_in_a_format_is_silent(
    server: ScriptedServer, client_of: AsyncOpenAI, run: Run
) -> None:
    class City(BaseModel):
        name: str

    whole = {**WHOLE, "content": [{**PART, "text": '{"name": "a"}'}]}
    server.plays(sse(*BEGIN, *SAID, end(output=[whole])))
    async with client_of.responses.stream(model="m", input="?", text_format=City) as events:
        async for _ in events:
            pass
    assert run.teller.said == []
    assert run.calls.usage == Usage(3, 2, 5)


async def test_a_response_that_is_not_streamed_is_counted(
    server: ScriptedServer, client_of: AsyncOpenAI, run: Run
) -> None:
    body = json.dumps({**RESPONSE, "status": "completed", "output": [WHOLE], "usage": COST})
    server.answers.clear()
    server.answers.append(Answer(body.encode(), "application/json"))
    response = await client_of.responses.create(model="m", input="?")
    assert response.output_text == "ab"
    assert (run.teller.said, run.teller.ends) == ([], [(Usage(3, 2, 5), "stop")])


async def test_langchain_on_the_responses_api_is_neither_told_nor_counted(
    server: ScriptedServer, run: Run
) -> None:
    server.plays(ANSWER)
    model = chat_model(server.base_url, use_responses_api=True)
    assert "".join([chunk.text async for chunk in model.astream("?")]) == "ab"
    assert (run.teller.said, run.teller.ends) == ([], [])


async def test_azure_is_heard(server: ScriptedServer, run: Run) -> None:
    server.plays(sse(*texts("a", "b"), STOP))
    options: Any = {"base_url": server.base_url, "api_key": "x", "api_version": "1"}
    asked: Any = {"model": "m", "messages": [{"role": "user", "content": "?"}], "stream": True}

    def ask() -> None:
        with AzureOpenAI(**options) as client:
            for _ in client.chat.completions.create(**asked):
                pass

    async with AsyncAzureOpenAI(**options) as client:
        async for _ in await client.chat.completions.create(**asked):
            pass
    await asyncio.to_thread(ask)
    assert run.teller.said == ["a", "b"] * 2
