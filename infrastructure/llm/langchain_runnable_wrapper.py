"""The SDK as a LangChain chat model: what LangGraph needs to see the tokens."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    convert_to_openai_messages,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, Field

from sluice.domain.events import Usage

from .answers import Output
from .decoding import Delta
from .langchain_messages import finish_reason_of, streamed_call_in, text_in, whole
from .structuring import Messages, structured
from .upstream import ChatCompletions

_NO_SYNC = "LangChainOpenAIRunnable is asynchronous: use ainvoke or astream"


class LangChainOpenAIRunnable(BaseChatModel):
    """Streams whether asked to or not; LangChain reports each token to its callbacks.

    Options (`temperature`, `max_tokens`, …) are bound or given per call; those that are None
    are not sent.
    """

    completions: ChatCompletions = Field(exclude=True, repr=False)

    @property
    def _llm_type(self) -> str:
        return "sluice-openai"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise NotImplementedError(_NO_SYNC)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # LangChain's own agenerate_from_stream does the merging in another thread.
        return generate_from_stream(
            iter([chunk async for chunk in self._astream(messages, stop, **kwargs)])
        )

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        said = convert_to_openai_messages(messages)
        call = self.completions.call(said, stop=stop, **kwargs)
        async with aclosing(call.deltas()) as deltas:
            async for delta in deltas:
                if delta.text or delta.tool_calls or delta.reasoning:
                    yield ChatGenerationChunk(message=_message(delta))
        yield _last(call.usage, call.finish_reason)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """`tool_choice` in the API's words."""
        functions = [convert_to_openai_tool(tool) for tool in tools]
        return self.bind(tools=functions, tool_choice=tool_choice, **kwargs)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """As `structuring` has it; that JSON is never text for the user.

        Raises NotImplementedError for other schemas than Pydantic models, and all options.
        """
        if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
            raise NotImplementedError("with_structured_output takes a Pydantic model")
        if include_raw or kwargs:
            raise NotImplementedError("with_structured_output takes no options")
        return RunnableLambda(partial(self._structured, schema))

    async def _structured(self, schema: type[BaseModel], given: LanguageModelInput) -> BaseModel:
        said = convert_to_openai_messages(self._convert_input(given).to_messages())
        return await structured(schema, said, self._ask, self.completions.refused)

    async def _ask(self, messages: Messages, options: Mapping[str, Any]) -> Output:
        message = await whole(self.bind(**options), list(map(dict, messages)))
        call = streamed_call_in(message)
        return Output(text_in(message), call and call.arguments, finish_reason_of(message))


def _message(delta: Delta) -> AIMessageChunk:
    """Reasoning stands where LangChain's own integrations put it: it is no content."""
    if delta.reasoning:
        message = _message(delta._replace(reasoning=""))
        message.additional_kwargs["reasoning_content"] = delta.reasoning
        return message
    if not delta.tool_calls:
        return AIMessageChunk(content=delta.text)
    calls = [
        tool_call_chunk(name=part.name, args=part.arguments, id=part.id, index=part.number)
        for part in delta.tool_calls
    ]
    return AIMessageChunk(content=delta.text, tool_call_chunks=calls)


def _last(usage: Usage | None, finish_reason: str | None) -> ChatGenerationChunk:
    counted = usage and UsageMetadata(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        total_tokens=usage.total_tokens,
    )
    return ChatGenerationChunk(
        message=AIMessageChunk(content="", usage_metadata=counted, chunk_position="last"),
        generation_info={"finish_reason": finish_reason},
    )
