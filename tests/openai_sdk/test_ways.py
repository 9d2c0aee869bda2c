"""Every way in which the SDK can be called is heard once, word for word, and counted."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from openai import AsyncOpenAI, AsyncStream, OpenAI, Stream
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel

from sluice.application.heard_calls import silent
from sluice.domain.events import Usage
from sluice.infrastructure.openai_sdk.instrumentor import OpenAIInstrumentor
from sluice.offline_model import OfflineModel, Reply

from .conftest import Run, chat_model

PIECES = ["무색", " 페트병은", " 👩‍👩‍👧‍👦"]
TEXT = "".join(PIECES)
ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}
COUNTED: dict[str, Any] = {"stream_options": {"include_usage": True}}


class City(BaseModel):
    name: str


async def stream(client: AsyncOpenAI) -> None:
    chunks = await client.chat.completions.create(**ASKED, **COUNTED, stream=True)
    assert isinstance(chunks, AsyncStream)
    async with chunks:
        assert all([isinstance(chunk, ChatCompletionChunk) async for chunk in chunks])


async def inner_iterator(client: AsyncOpenAI) -> None:
    chunks = await client.chat.completions.create(**ASKED, **COUNTED, stream=True)
    async for _ in chunks._iterator:
        pass


async def helper(client: AsyncOpenAI) -> None:
    async with client.chat.completions.stream(**ASKED, **COUNTED) as events:
        async for _ in events:
            pass
        completion = await events.get_final_completion()
    assert completion.choices[0].message.content == TEXT


async def raw_response(client: AsyncOpenAI) -> None:
    raw = await client.chat.completions.with_raw_response.create(**ASKED, **COUNTED, stream=True)
    async for _ in raw.parse():
        pass


async def streaming_response(client: AsyncOpenAI) -> None:
    opened = client.chat.completions.with_streaming_response
    async with opened.create(**ASKED, **COUNTED, stream=True) as raw:
        async for _ in await raw.parse():
            pass


async def copy(client: AsyncOpenAI) -> None:
    await stream(client.with_options(max_retries=1))


async def in_a_task(client: AsyncOpenAI) -> None:
    await asyncio.create_task(stream(client))


Asynchronous = Callable[[AsyncOpenAI], Awaitable[None]]
ASYNC: list[Asynchronous] = [
    stream,
    inner_iterator,
    helper,
    raw_response,
    streaming_response,
    copy,
    in_a_task,
]


def sync_stream(client: OpenAI) -> None:
    chunks = client.chat.completions.create(**ASKED, **COUNTED, stream=True)
    assert isinstance(chunks, Stream)
    with chunks:
        assert all(isinstance(chunk, ChatCompletionChunk) for chunk in chunks)


def sync_helper(client: OpenAI) -> None:
    with client.chat.completions.stream(**ASKED, **COUNTED) as events:
        assert events.get_final_completion().choices[0].message.content == TEXT


def sync_raw_response(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(**ASKED, **COUNTED, stream=True)
    for _ in raw.parse():
        pass


SYNC = [sync_stream, sync_helper, sync_raw_response]


@pytest.fixture
def scripted(model: OfflineModel) -> OfflineModel:
    model.script(Reply(pieces=PIECES))
    return model


@pytest.mark.parametrize("way", ASYNC)
async def test_a_streamed_call_is_told_piece_by_piece(
    way: Asynchronous, scripted: OfflineModel, client: AsyncOpenAI, run: Run
) -> None:
    await way(client)
    assert run.teller.said == PIECES
    [(usage, finish_reason)] = run.teller.ends
    assert usage is not None
    assert usage.output_tokens == len(PIECES)
    assert finish_reason == "stop"


@pytest.mark.parametrize("way", SYNC)
async def test_a_streamed_call_of_a_synchronous_client_is_told_piece_by_piece(
    way: Callable[[OpenAI], None], scripted: OfflineModel, sync_client: OpenAI, run: Run
) -> None:
    await asyncio.to_thread(way, sync_client)
    assert run.teller.said == PIECES
    assert [reason for _, reason in run.teller.ends] == ["stop"]


async def plain(client: AsyncOpenAI) -> Any:
    completion = await client.chat.completions.create(**ASKED)
    return completion.choices[0].message.content


async def plain_raw(client: AsyncOpenAI) -> Any:
    raw = await client.chat.completions.with_raw_response.create(**ASKED)
    return raw.parse().choices[0].message.content


async def plain_streaming(client: AsyncOpenAI) -> Any:
    async with client.chat.completions.with_streaming_response.create(**ASKED) as raw:
        return (await raw.parse()).choices[0].message.content


async def parsed(client: AsyncOpenAI) -> Any:
    completion = await client.chat.completions.parse(**ASKED)
    return completion.choices[0].message.content


@pytest.mark.parametrize("way", [plain, plain_raw, plain_streaming, parsed])
async def test_a_call_that_does_not_stream_is_counted_and_not_told(
    way: Callable[[AsyncOpenAI], Awaitable[Any]],
    scripted: OfflineModel,
    client: AsyncOpenAI,
    run: Run,
) -> None:
    assert await way(client) == TEXT
    assert run.teller.said == []
    assert run.teller.ends == [(Usage(2, 3, 5), "stop")]


async def test_a_plain_call_of_a_synchronous_client_is_counted(
    scripted: OfflineModel, sync_client: OpenAI, run: Run
) -> None:
    await asyncio.to_thread(lambda: sync_client.chat.completions.create(**ASKED))
    assert run.teller.ends == [(Usage(2, 3, 5), "stop")]


async def test_a_node_that_does_not_speak_is_silent_and_counted(
    scripted: OfflineModel, client: AsyncOpenAI, instrumented: OpenAIInstrumentor
) -> None:
    with Run(speaks=False).entered() as run:
        await stream(client)
    assert run.teller.said == []
    assert run.calls.usage == Usage(2, 3, 5)
    assert run.calls.finish_reason is None


async def test_a_muted_call_is_silent_and_counted(
    model: OfflineModel, client: AsyncOpenAI, run: Run
) -> None:
    model.script(Reply(pieces=["a"]), Reply(pieces=["b"]))
    with silent():
        await stream(client)
    await stream(client)
    assert run.teller.said == ["b"]
    assert run.calls.usage == Usage(2, 1, 3)
    assert run.calls.finish_reason is None


@pytest.mark.parametrize("form", [{"type": "json_object"}, City])
async def test_structured_output_is_silent(
    form: Any, model: OfflineModel, client: AsyncOpenAI, run: Run
) -> None:
    model.script(Reply(pieces=['{"name"', ': "Paju"}']))
    async with client.chat.completions.stream(**ASKED, response_format=form) as events:
        completion = await events.get_final_completion()
    assert completion.choices[0].message.content == '{"name": "Paju"}'
    assert run.teller.said == []


async def test_a_tools_arguments_are_pieces_of_their_own(
    model: OfflineModel, client: AsyncOpenAI, run: Run
) -> None:
    model.script(Reply.calling("weather", {"city": "Paju"}))
    await stream(client)
    assert run.teller.said == []
    first, *rest = run.teller.tool_calls
    assert (first.number, first.id, first.name) == (0, "call_weather_0", "weather")
    assert "".join(piece.arguments for piece in rest) == '{"city": "Paju"}'
    assert [reason for _, reason in run.teller.ends] == ["tool_calls"]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_reasoning_is_told_apart_from_the_text(
    name: str, model: OfflineModel, client: AsyncOpenAI, run: Run
) -> None:
    model.script(Reply(pieces=[{name: "hm"}, "a"]))
    await stream(client)
    assert (run.teller.reasoned, run.teller.said) == (["hm"], ["a"])


async def test_outside_a_job_nothing_is_changed(
    scripted: OfflineModel, client: AsyncOpenAI, instrumented: OpenAIInstrumentor
) -> None:
    chunks = await client.chat.completions.create(**ASKED, stream=True)
    assert type(chunks) is AsyncStream
    assert "Aiohttp" not in type(client._client._transport).__name__
    async with chunks:
        assert len([chunk async for chunk in chunks]) == len(PIECES) + 2


async def test_clients_and_methods_from_before_are_heard(
    scripted: OfflineModel, client: AsyncOpenAI, no_settings: None
) -> None:
    create, raw = client.chat.completions.create, client.chat.completions.with_raw_response
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument()
    scripted.script(Reply(pieces=PIECES))
    try:
        with Run().entered() as run:
            async for _ in await create(**ASKED, stream=True):
                pass
            async for _ in (await raw.create(**ASKED, stream=True)).parse():
                pass
    finally:
        await instrumentor.uninstrument()
    assert run.teller.said == PIECES * 2


async def test_it_can_be_taken_away_again(
    model: OfflineModel, client: AsyncOpenAI, no_settings: None
) -> None:
    before, transport = AsyncOpenAI.request, client._client._transport
    instrumentor = OpenAIInstrumentor()
    instrumentor.instrument()
    model.script(Reply(pieces=PIECES), Reply(pieces=PIECES))
    with Run().entered() as run:
        await stream(client)
        assert client._client._transport is not transport
        await instrumentor.uninstrument()
        assert client._client._transport is transport
        await stream(client)
    assert AsyncOpenAI.request is before
    assert run.teller.said == PIECES


async def chat_openai_astream(model: Any) -> None:
    async for _ in model.astream("Why?"):
        pass


async def chat_openai_ainvoke(model: Any) -> None:
    await model.ainvoke("Why?")


async def chat_openai_sync(model: Any) -> None:
    await asyncio.to_thread(model.invoke, "Why?")


async def chat_openai_sync_stream(model: Any) -> None:
    await asyncio.to_thread(lambda: list(model.stream("Why?")))


LANGCHAIN = [chat_openai_astream, chat_openai_ainvoke, chat_openai_sync, chat_openai_sync_stream]


@pytest.mark.parametrize("options", [{}, {"streaming": True}, {"include_response_headers": True}])
@pytest.mark.parametrize("way", LANGCHAIN)
async def test_what_langchain_reports_is_neither_told_nor_counted(
    way: Callable[[Any], Awaitable[None]], options: Any, scripted: OfflineModel, run: Run
) -> None:
    await way(chat_model(scripted.base_url, **options))
    assert (run.teller.said, run.teller.ends, run.calls.usage) == ([], [], None)


@pytest.mark.parametrize("way", LANGCHAIN)
async def test_a_langchain_call_that_reports_to_somebody_else_is_heard(
    way: Callable[[Any], Awaitable[None]], scripted: OfflineModel, instrumented: OpenAIInstrumentor
) -> None:
    with Run(listens=False).entered() as run:
        await way(chat_model(scripted.base_url))
    assert run.teller.said == (PIECES if "stream" in way.__name__ else [])
    assert run.teller.ends == [(Usage(2, 3, 5), "stop")]


async def test_a_raw_call_between_two_chunks_of_langchain_is_heard(
    model: OfflineModel, client: AsyncOpenAI, run: Run
) -> None:
    model.script(Reply(pieces=["x", "y"]), Reply(pieces=PIECES))
    chunks = chat_model(model.base_url).astream("Why?")
    await anext(chunks)
    await stream(client)
    assert len([chunk async for chunk in chunks]) > 1
    assert run.teller.said == PIECES
