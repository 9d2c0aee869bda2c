"""A2's model client: a LangChain chat model, or for what the run hears itself the one below it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import cast

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from pydantic import ValidationError

from sluice.application.model_calls import current_node
from sluice.domain.errors import UnusableOutput, UpstreamBadResponse
from sluice.domain.ports import LLMClientPort, Prompt, S, Tool, ToolCall

from .answers import messages_of, tool_call
from .langchain_messages import SILENTLY, finish_reason_of, streamed_call_in, text_in, whole
from .langchain_runnable_wrapper import LangChainOpenAIRunnable
from .openai_client import OpenAILLMClient
from .openai_errors import UPSTREAM_FAILURES, of_failure


class LangChainLLMAdapter:
    """Reports nothing itself: LangChain tells a run's callbacks how its calls ended.

    `direct` makes the same call past LangChain, which costs most of a token's time; it is used
    to stream where the run alone would have listened and takes the text at once.
    """

    def __init__(self, model: BaseChatModel, *, direct: OpenAILLMClient | None = None) -> None:
        self.model, self._direct = model, direct

    async def stream(
        self, prompt: Prompt, *, system: str | None = None
    ) -> AsyncGenerator[str, None]:
        node = current_node.get()
        if self._direct is not None and node is not None and (emit := node.emitter()):
            async with aclosing(self._direct.stream(prompt, system=system, emit=emit)) as texts:
                async for text in texts:
                    yield text
            return
        chunks = cast(
            "AsyncGenerator[AIMessageChunk, None]",
            self.model.astream(messages_of(prompt, system)),
        )
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    if text := text_in(chunk):
                        yield text
        except UPSTREAM_FAILURES as failure:
            raise of_failure(failure) from failure

    async def complete(self, prompt: Prompt, *, system: str | None = None) -> str:
        return text_in(await whole(self.model, messages_of(prompt, system)))

    async def structured(self, prompt: Prompt, schema: type[S], *, system: str | None = None) -> S:
        model = self.model.with_structured_output(schema)
        try:
            value = await model.ainvoke(messages_of(prompt, system), SILENTLY)
        except (OutputParserException, ValidationError) as error:
            raise UnusableOutput from error
        except UPSTREAM_FAILURES as failure:
            raise of_failure(failure) from failure
        if not isinstance(value, schema):
            raise UnusableOutput
        return value

    async def call_tool(
        self, prompt: Prompt, tools: Sequence[Tool], *, system: str | None = None
    ) -> ToolCall | str:
        model = self.model.bind_tools([dict(tool) for tool in tools])
        return _chosen(await whole(model, messages_of(prompt, system)))


def chat_model_of(llm: LLMClientPort) -> BaseChatModel:
    """The model behind either path's client, as LangChain's agents want one.

    Raises TypeError for another client than Sluice's own.
    """
    match llm:
        case LangChainLLMAdapter():
            return llm.model
        case OpenAILLMClient():
            return LangChainOpenAIRunnable(completions=llm.completions)
    raise TypeError(f"{type(llm).__name__} has no LangChain model")


def _chosen(message: AIMessage) -> ToolCall | str:
    if call := streamed_call_in(message):
        return tool_call(call.name, call.arguments, finish_reason_of(message))
    if message.tool_calls:
        return ToolCall(message.tool_calls[0]["name"], message.tool_calls[0]["args"])
    if message.invalid_tool_calls:
        raise UpstreamBadResponse
    return text_in(message)
