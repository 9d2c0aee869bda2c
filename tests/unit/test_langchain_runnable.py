"""The SDK as a LangChain chat model: what it is asked, and the messages that it gives."""

from contextlib import aclosing
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.messages.tool import tool_call_chunk
from pydantic import BaseModel

from sluice.domain.errors import UnusableOutput, UpstreamTruncated
from sluice.domain.events import Usage
from sluice.infrastructure.llm.decoding import Delta, ToolCallPart
from sluice.infrastructure.llm.langchain_runnable_wrapper import LangChainOpenAIRunnable
from sluice.infrastructure.llm.refusals import RESPONSE_FORMAT, TOOLS
from tests.unit.scripted_completions import ScriptedCompletions

GIVEN = [SystemMessage("Be brief."), HumanMessage("?")]
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "?"}]
COUNTED = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}


class City(BaseModel):
    name: str


class Seen(AsyncCallbackHandler):
    """The tags of each call."""

    def __init__(self) -> None:
        self.tags: list[Any] = []

    async def on_chat_model_start(self, *_: Any, tags: Any = None, **__: Any) -> None:
        self.tags.append(tags)


def model(*deltas: Delta | Exception) -> tuple[LangChainOpenAIRunnable, ScriptedCompletions]:
    completions = ScriptedCompletions(*deltas)
    return LangChainOpenAIRunnable(completions=completions), completions


async def streamed(*deltas: Delta) -> list[AIMessageChunk]:
    chat, _ = model(*deltas)
    return [chunk async for chunk in chat.astream(GIVEN)]


async def test_each_thing_said_is_a_chunk_and_the_last_one_says_how_it_ended() -> None:
    *said, last = await streamed(Delta("a"), Delta(usage=Usage(1, 2, 3)), Delta("b"), Delta())
    assert [chunk.content for chunk in said] == ["a", "b"]
    assert [chunk.chunk_position for chunk in said] == [None, None]
    assert (last.content, last.chunk_position) == ("", "last")
    assert last.usage_metadata == COUNTED
    assert last.response_metadata["finish_reason"] == "stop"


async def test_thoughts_are_no_content() -> None:
    first, second, _ = await streamed(Delta(reasoning="hm"), Delta("a", reasoning="so"))
    assert (first.content, first.additional_kwargs) == ("", {"reasoning_content": "hm"})
    assert (second.content, second.additional_kwargs) == ("a", {"reasoning_content": "so"})


async def test_pieces_of_a_tool_call_are_langchains() -> None:
    pieces = (ToolCallPart(1, "c", "f", '{"a"'), ToolCallPart(2, None, None, ": 1}"))
    first, second, _ = await streamed(Delta(tool_calls=pieces), Delta("a", tool_calls=pieces[:1]))
    one = tool_call_chunk(name="f", args='{"a"', id="c", index=1)
    other = tool_call_chunk(name=None, args=": 1}", id=None, index=2)
    assert (first.content, first.tool_call_chunks) == ("", [one, other])
    assert (second.content, second.tool_call_chunks) == ("a", [one])


async def test_a_call_without_a_cost_has_none() -> None:
    chat, completions = model(Delta("a"))
    completions.last.usage = completions.last.finish_reason = None
    message = await chat.ainvoke(GIVEN)
    assert message.usage_metadata is None
    assert message.response_metadata["finish_reason"] is None


async def test_a_whole_message_is_its_chunks() -> None:
    chat, completions = model(Delta("a", reasoning="hm"), Delta("b"))
    message = await chat.ainvoke(GIVEN, stop=["."], temperature=0)
    assert (message.content, message.usage_metadata) == ("ab", COUNTED)
    assert type(message) is AIMessage
    assert message.additional_kwargs == {"reasoning_content": "hm"}
    assert message.response_metadata["finish_reason"] == "stop"
    assert completions.asked == [(ASKED, {"stop": ["."], "temperature": 0})]


async def test_a_stream_is_asked_with_its_options_and_closed_with_its_call() -> None:
    chat, completions = model(Delta("a"), Delta("b"))
    async with aclosing(chat._astream(GIVEN, ["."], temperature=0)) as chunks:  # type: ignore[type-var]
        await anext(chunks)
    assert completions.asked == [(ASKED, {"stop": ["."], "temperature": 0})]
    assert completions.last.closed
    assert [chunk.content async for chunk in chat.astream(GIVEN)] == ["a", "b", ""]
    assert completions.asked[-1] == (ASKED, {"stop": None})


async def test_a_call_that_fails_fails() -> None:
    chat, _ = model(Delta("a"), UpstreamTruncated())
    with pytest.raises(UpstreamTruncated):
        await chat.ainvoke(GIVEN)


def test_it_is_asynchronous() -> None:
    chat, completions = model(Delta("a"))
    with pytest.raises(NotImplementedError, match="ainvoke"):
        chat.invoke(GIVEN)
    assert completions.asked == []


async def test_tools_are_bound_in_the_apis_words() -> None:
    def find(word: str) -> str:
        """Finds it."""
        return word

    chat, completions = model(Delta("a"))
    await chat.bind_tools([find], tool_choice="auto", parallel_tool_calls=False).ainvoke(GIVEN)
    [(_, options)] = completions.asked
    [tool] = options["tools"]
    assert (tool["type"], tool["function"]["name"]) == ("function", "find")
    assert tool["function"]["parameters"]["required"] == ["word"]
    assert options["tool_choice"] == "auto"
    assert options["parallel_tool_calls"] is False


@pytest.mark.parametrize("schema", [{"type": "object"}, dict, "City"])
def test_a_structure_is_a_pydantic_model(schema: Any) -> None:
    with pytest.raises(NotImplementedError, match="Pydantic"):
        model()[0].with_structured_output(schema)


@pytest.mark.parametrize("options", [{"include_raw": True}, {"method": "json_mode"}])
def test_a_structure_takes_no_options(options: Any) -> None:
    with pytest.raises(NotImplementedError, match="options"):
        model()[0].with_structured_output(City, **options)


@pytest.mark.parametrize(("given", "asked"), [("?", ASKED[1:]), (GIVEN, ASKED)])
async def test_a_structure_is_asked_for_silently(given: Any, asked: Any) -> None:
    chat, completions = model(Delta('{"name"'), Delta(': "Ulm"}'))
    seen = Seen()
    value = await chat.with_structured_output(City).ainvoke(given, {"callbacks": [seen]})
    assert value == City(name="Ulm")
    [(messages, options)] = completions.asked
    assert messages == asked
    assert options["response_format"]["json_schema"]["name"] == "City"
    assert "nostream" in seen.tags[0]


async def test_a_structure_may_be_a_tools_arguments() -> None:
    part = ToolCallPart(0, "c", "City", '{"name": "Ulm"}')
    chat, completions = model(Delta(tool_calls=(part,)))
    completions.refused.add(RESPONSE_FORMAT)
    assert await chat.with_structured_output(City).ainvoke("?") == City(name="Ulm")
    assert completions.asked[0][1]["tool_choice"]["function"]["name"] == "City"


async def test_what_a_model_does_not_heed_is_remembered() -> None:
    chat, completions = model(Delta("I cannot say."))
    with pytest.raises(UnusableOutput):
        await chat.with_structured_output(City).ainvoke("?")
    assert len(completions.asked) == 3
    completions.refused.update({RESPONSE_FORMAT, TOOLS})
    with pytest.raises(UnusableOutput):
        await chat.with_structured_output(City).ainvoke("?")
    assert len(completions.asked) == 4


async def test_a_structure_that_was_cut_is_told_apart() -> None:
    chat, completions = model(Delta('{"name": "Ul'))
    completions.last.finish_reason = "length"
    with pytest.raises(UpstreamTruncated):
        await chat.with_structured_output(City).ainvoke("?")
