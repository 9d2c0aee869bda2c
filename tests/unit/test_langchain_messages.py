"""What the message of a silent call says, however its model gave it."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.runnables import RunnableGenerator

from sluice.domain.errors import UpstreamDisconnected, UpstreamError, UpstreamTimeout
from sluice.infrastructure.llm.langchain_messages import (
    StreamedCall,
    finish_reason_of,
    streamed_call_in,
    text_in,
    whole,
)


def model(*parts: AIMessage | Exception) -> Any:
    """Gives the parts one by one, and fails where one is an error."""

    async def stream(_: AsyncIterator[Any]) -> AsyncIterator[AIMessage]:
        async for _asked in _:
            for part in parts:
                if isinstance(part, Exception):
                    raise part
                yield part

    return RunnableGenerator(stream)


def piece(args: str, index: int | None = 0, name: str | None = None) -> AIMessageChunk:
    call = tool_call_chunk(name=name, args=args, id=name, index=index)
    return AIMessageChunk(content="", tool_call_chunks=[call])


async def test_pieces_are_one_message() -> None:
    message = await whole(model(AIMessageChunk(content="a"), AIMessageChunk(content="b")), "?")
    assert isinstance(message, AIMessageChunk)
    assert text_in(message) == "ab"


async def test_a_model_that_does_not_stream_gives_its_message_whole() -> None:
    assert await whole(model(AIMessage("a")), "?") == AIMessage("a")


@pytest.mark.parametrize(
    ("failure", "expected"),
    [(httpx2.ReadError("x"), UpstreamDisconnected), (TimeoutError(), UpstreamTimeout)],
)
async def test_a_failure_of_the_call_has_its_code(
    failure: Exception, expected: type[UpstreamError]
) -> None:
    with pytest.raises(expected) as raised:
        await whole(model(AIMessageChunk(content="a"), failure), "?")
    assert raised.value.__cause__ is failure


async def test_the_model_is_asked_and_no_callback_hears_it() -> None:
    asked, tags = list[Any](), list[str]()

    async def stream(given: AsyncIterator[Any], config: Any) -> AsyncIterator[AIMessage]:
        async for each in given:
            asked.append(each)
            tags.extend(config["tags"])
            yield AIMessage("a")

    hearing: Any = stream
    await whole(RunnableGenerator(hearing), "?")
    assert (asked, tags) == (["?"], ["nostream"])


def test_a_texts_blocks_are_its_text() -> None:
    blocks: Any = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert text_in(AIMessage(blocks)) == "ab"
    assert type(text_in(AIMessage(blocks))) is str


async def test_arguments_of_a_call_are_as_they_came() -> None:
    message = await whole(model(piece('{"a"', name="f"), piece(": ")), "?")
    assert streamed_call_in(message) == StreamedCall("f", '{"a": ')


def test_of_several_calls_the_first_counts() -> None:
    def called(*indices: int | None) -> StreamedCall | None:
        calls = [tool_call_chunk(name=str(n), args="", id="i", index=n) for n in indices]
        return streamed_call_in(AIMessageChunk(content="", tool_call_chunks=calls))

    assert called(1, 0) == StreamedCall("0", "")
    assert called(1, None) == StreamedCall("None", "")
    assert called(2, 1, 3) == StreamedCall("1", "")


def test_a_call_may_lack_its_name_and_arguments() -> None:
    call = tool_call_chunk(name=None, args=None, id=None, index=0)
    assert streamed_call_in(AIMessageChunk(content="", tool_call_chunks=[call])) == StreamedCall(
        "", ""
    )


def test_who_was_not_streamed_or_called_for_nothing_has_no_streamed_call() -> None:
    calls: Any = [{"name": "f", "args": {}, "id": "c"}]
    assert streamed_call_in(AIMessage("", tool_calls=calls)) is None
    assert streamed_call_in(AIMessageChunk(content="a")) is None


def test_a_finish_reason_is_the_providers() -> None:
    assert finish_reason_of(AIMessage("", response_metadata={"finish_reason": "stop"})) == "stop"
    assert finish_reason_of(AIMessage("")) is None
