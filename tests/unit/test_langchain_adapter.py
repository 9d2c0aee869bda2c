"""What A2's model client asks of a LangChain model, and what it makes of its answers."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import httpx2
import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, convert_to_openai_messages
from langchain_core.messages.tool import invalid_tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel, Field

from sluice.application.model_calls import ModelCalls, NodeRun, current_node
from sluice.domain.errors import (
    CutOutput,
    UnusableOutput,
    UpstreamBadResponse,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamTimeout,
)
from sluice.domain.ports import ToolCall
from sluice.infrastructure.llm.decoding import Delta
from sluice.infrastructure.llm.langchain_adapter import LangChainLLMAdapter, chat_model_of
from sluice.infrastructure.llm.langchain_runnable_wrapper import LangChainOpenAIRunnable
from sluice.infrastructure.llm.openai_client import OpenAILLMClient
from sluice.testing import ScriptedLLM
from tests.unit.scripted_completions import ScriptedCompletions

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "?"}]
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f"}}
FAILURES = [(httpx2.ReadError("x"), UpstreamDisconnected), (TimeoutError(), UpstreamTimeout)]


class City(BaseModel):
    name: str


class Model(BaseChatModel):
    """Gives its parts one by one, and fails where one is an error; keeps what it was asked."""

    parts: list[Any]
    asked: list[Any] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "model"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        self.asked.append((convert_to_openai_messages(messages), options))
        for part in self.parts:
            if isinstance(part, Exception):
                raise part
            yield ChatGenerationChunk(message=part)

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self.bind(tools=tools)

    def with_structured_output(self, schema: Any, **_: Any) -> Any:
        def answer(messages: Any, config: Any) -> Any:
            self.asked.append((messages, schema, config["tags"]))
            [part] = self.parts
            if isinstance(part, Exception):
                raise part
            return part

        return RunnableLambda(answer)


class Unstreamed(Model):
    """Gives its message whole."""

    _astream: Any = BaseChatModel._astream

    async def _agenerate(self, *_: Any, **__: Any) -> ChatResult:
        [message] = self.parts
        return ChatResult(generations=[ChatGeneration(message=message)])


class Emitting(NodeRun):
    """A node whose run takes the text of a call at once, if it listens."""

    def __init__(self, *, listens: bool) -> None:
        super().__init__(ModelCalls(), "a", speaks=True)
        self.told, self.listens = list[str](), listens

    def emitter(self) -> Callable[[str], None] | None:
        return self.told.append if self.listens else None


def below(*texts: str) -> tuple[OpenAILLMClient, ScriptedCompletions]:
    """The client below LangChain."""
    completions = ScriptedCompletions(*map(Delta, texts))
    return OpenAILLMClient(completions), completions


def said(*texts: str) -> list[Any]:
    return [AIMessageChunk(content=text) for text in texts]


def adapter(*parts: Any, direct: OpenAILLMClient | None = None) -> LangChainLLMAdapter:
    return LangChainLLMAdapter(Model(parts=list(parts)), direct=direct)


def asked_of(llm: LangChainLLMAdapter) -> Any:
    assert isinstance(llm.model, Model)
    return llm.model.asked


async def streamed(llm: LangChainLLMAdapter) -> list[str]:
    return [text async for text in llm.stream("?", system="Be brief.")]


async def test_a_streams_texts_are_given_one_by_one_and_nothing_empty() -> None:
    llm = adapter(*said("a", "", "b"))
    assert await streamed(llm) == ["a", "b"]
    assert asked_of(llm) == [(ASKED, {})]


@pytest.mark.parametrize(("failure", "expected"), FAILURES)
async def test_a_stream_that_fails_has_its_code(
    failure: Exception, expected: type[UpstreamError]
) -> None:
    texts = adapter(*said("a"), failure).stream("?")
    assert await anext(texts) == "a"
    with pytest.raises(expected) as raised:
        await anext(texts)
    assert raised.value.__cause__ is failure


async def test_what_the_run_hears_itself_is_asked_past_langchain() -> None:
    (direct, completions), node = below("x", "y"), Emitting(listens=True)
    llm = adapter(*said("a"), direct=direct)
    before = current_node.set(node)
    try:
        async with aclosing(llm.stream("?", system="Be brief.")) as texts:
            assert (await anext(texts), node.told) == ("x", ["x"])
        assert completions.last.closed
        assert await streamed(llm) == ["x", "y"]
    finally:
        current_node.reset(before)
    assert node.told == ["x", "x", "y"]
    assert completions.asked == [(ASKED, {})] * 2
    assert asked_of(llm) == []


@pytest.mark.parametrize("node", [None, Emitting(listens=False)])
async def test_what_somebody_else_hears_is_asked_through_langchain(node: NodeRun | None) -> None:
    direct, completions = below("x")
    before = current_node.set(node)
    try:
        assert await streamed(adapter(*said("a"), direct=direct)) == ["a"]
    finally:
        current_node.reset(before)
    assert completions.asked == []


async def test_without_a_client_below_langchain_is_asked() -> None:
    before = current_node.set(Emitting(listens=True))
    try:
        assert await streamed(adapter(*said("a"))) == ["a"]
    finally:
        current_node.reset(before)


async def test_a_completion_is_one_text() -> None:
    llm = adapter(*said("a", "b"))
    assert await llm.complete("?", system="Be brief.") == "ab"
    assert asked_of(llm) == [(ASKED, {})]


async def test_a_structure_is_asked_for_silently() -> None:
    llm = adapter(City(name="Ulm"))
    assert await llm.structured("?", City, system="Be brief.") == City(name="Ulm")
    assert asked_of(llm) == [(ASKED, City, ["nostream"])]


def not_valid() -> Exception:
    try:
        City.model_validate({})
    except ValueError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("failure", [OutputParserException("no"), not_valid()])
async def test_what_langchain_cannot_read_is_unusable(failure: Exception) -> None:
    with pytest.raises(UnusableOutput) as raised:
        await adapter(failure).structured("?", City)
    assert raised.value.__cause__ is failure


@pytest.mark.parametrize("value", [None, {"name": "Ulm"}])
async def test_what_is_no_instance_is_unusable(value: object) -> None:
    with pytest.raises(UnusableOutput):
        await adapter(value).structured("?", City)


@pytest.mark.parametrize(("failure", "expected"), FAILURES)
async def test_a_structured_call_that_fails_has_its_code(
    failure: Exception, expected: type[UpstreamError]
) -> None:
    with pytest.raises(expected) as raised:
        await adapter(failure).structured("?", City)
    assert type(raised.value.__cause__) is type(failure)  # executors make timeouts anew


def called(args: str, finish_reason: str = "tool_calls") -> AIMessageChunk:
    call = tool_call_chunk(name="f", args=args, id="c", index=0)
    return AIMessageChunk(
        content="", tool_call_chunks=[call], response_metadata={"finish_reason": finish_reason}
    )


async def test_a_tool_is_called_or_the_answer_is_a_text() -> None:
    llm = adapter(called('{"a": 1}'))
    assert await llm.call_tool("?", [TOOL], system="Be brief.") == ToolCall("f", {"a": 1})
    assert asked_of(llm) == [(ASKED, {"tools": [TOOL]})]
    assert await adapter(*said("a")).call_tool("?", [TOOL]) == "a"


@pytest.mark.parametrize(
    ("finish_reason", "expected"), [("tool_calls", UnusableOutput), ("length", CutOutput)]
)
async def test_broken_arguments_are_unusable_or_cut(
    finish_reason: str, expected: type[UpstreamError]
) -> None:
    with pytest.raises(expected):
        await adapter(called('{"a', finish_reason)).call_tool("?", [TOOL])


async def test_the_first_tool_counts_that_a_message_in_one_piece_calls() -> None:
    calls: Any = [{"name": name, "args": {"a": name}, "id": name} for name in ("f", "g")]
    llm = LangChainLLMAdapter(Unstreamed(parts=[AIMessage("text", tool_calls=calls)]))
    assert await llm.call_tool("?", [TOOL]) == ToolCall("f", {"a": "f"})


async def test_a_call_that_langchain_could_not_read_is_a_bad_response() -> None:
    broken = invalid_tool_call(name="f", args="{", id="c", error="no JSON")
    llm = LangChainLLMAdapter(Unstreamed(parts=[AIMessage("", invalid_tool_calls=[broken])]))
    with pytest.raises(UpstreamBadResponse):
        await llm.call_tool("?", [TOOL])


def test_either_paths_client_has_a_model_for_langchains_agents() -> None:
    completions = ScriptedCompletions()
    llm = adapter()
    assert chat_model_of(llm) is llm.model
    raw = chat_model_of(OpenAILLMClient(completions))
    assert isinstance(raw, LangChainOpenAIRunnable)
    assert raw.completions is completions
    with pytest.raises(TypeError, match="ScriptedLLM"):
        chat_model_of(ScriptedLLM())
