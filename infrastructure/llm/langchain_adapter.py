"""A2's model client: any LangChain chat model, so that LangGraph sees every token."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import cast

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import ValidationError

from sluice.application.model_calls import current_node
from sluice.domain.errors import UpstreamBadResponse
from sluice.domain.ports import LLMClientPort, Prompt, S, Tool, ToolCall

from .answers import SILENT, messages_of, tool_call
from .openai_errors import UPSTREAM_FAILURES, of_failure

_SILENTLY: RunnableConfig = {"tags": [SILENT]}


class LangChainLLMAdapter:
    """Reports nothing itself: LangChain tells a run's callbacks how its calls ended.

    `direct` makes the same call past LangChain, which costs most of a token's time; it is used
    to stream where the run alone would have listened and takes the text at once.
    """

    def __init__(self, model: BaseChatModel, *, direct: LLMClientPort | None = None) -> None:
        self._model, self._direct = model, direct

    async def stream(
        self, prompt: Prompt, *, system: str | None = None
    ) -> AsyncGenerator[str, None]:
        node = current_node.get()
        if self._direct is not None and node is not None and (emit := node.emitter()):
            async with aclosing(self._direct.stream(prompt, system=system)) as texts:
                async for text in texts:
                    emit(text)
                    yield text
            return
        chunks = cast(
            "AsyncGenerator[AIMessageChunk, None]",
            self._model.astream(messages_of(prompt, system)),
        )
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    if text := _text(chunk):
                        yield text
        except UPSTREAM_FAILURES as failure:
            raise of_failure(failure) from failure

    async def complete(self, prompt: Prompt, *, system: str | None = None) -> str:
        return _text(await _whole(self._model, messages_of(prompt, system)))

    async def structured(self, prompt: Prompt, schema: type[S], *, system: str | None = None) -> S:
        model = self._model.with_structured_output(schema)
        try:
            value = await model.ainvoke(messages_of(prompt, system), _SILENTLY)
        except (OutputParserException, ValidationError) as error:
            raise UpstreamBadResponse from error
        except UPSTREAM_FAILURES as failure:
            raise of_failure(failure) from failure
        if not isinstance(value, schema):
            raise UpstreamBadResponse
        return value

    async def call_tool(
        self, prompt: Prompt, tools: Sequence[Tool], *, system: str | None = None
    ) -> ToolCall | str:
        model = self._model.bind_tools([dict(tool) for tool in tools])
        return _chosen(await _whole(model, messages_of(prompt, system)))


async def _whole(
    model: Runnable[LanguageModelInput, AIMessage], messages: LanguageModelInput
) -> AIMessage:
    """Streamed and merged here: LangChain's own merging mends broken tool arguments."""
    try:
        parts = [part async for part in model.astream(messages, _SILENTLY)]
    except UPSTREAM_FAILURES as failure:
        raise of_failure(failure) from failure
    match parts:
        case [AIMessageChunk() as first, *rest]:
            return add_ai_message_chunks(first, *cast("list[AIMessageChunk]", rest))
        case _:  # a model that does not stream gives its message whole
            return parts[0]


def _chosen(message: AIMessage) -> ToolCall | str:
    if isinstance(message, AIMessageChunk) and message.tool_call_chunks:
        call = min(message.tool_call_chunks, key=lambda each: each["index"] or 0)
        finish_reason = message.response_metadata.get("finish_reason")
        return tool_call(call["name"] or "", call["args"] or "", finish_reason)
    if message.tool_calls:
        return ToolCall(message.tool_calls[0]["name"], message.tool_calls[0]["args"])
    if message.invalid_tool_calls:
        raise UpstreamBadResponse
    return _text(message)


def _text(message: AIMessage) -> str:
    """A chat model's content may also be a list of blocks."""
    content = message.content
    return content if type(content) is str else str(message.text)
