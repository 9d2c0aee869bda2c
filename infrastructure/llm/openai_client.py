"""A1's model client: the raw SDK, which LangGraph does not see."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from sluice.application.model_calls import current_node
from sluice.domain.ports import Prompt, S, Tool, ToolCall

from .answers import Answer, Output, messages_of
from .decoding import Delta
from .structuring import Messages, structured
from .upstream import ChatCompletions


class OpenAILLMClient:
    """Reports each call to the job it belongs to, as no callback will do it."""

    def __init__(self, completions: ChatCompletions) -> None:
        self.completions = completions

    async def stream(
        self, prompt: Prompt, *, system: str | None = None
    ) -> AsyncGenerator[str, None]:
        node = current_node.get()
        async with self._call(prompt, system, spoken=True) as deltas:
            async for delta in deltas:
                if delta.reasoning and node is not None:
                    node.reasoning(delta.reasoning)
                if delta.text:
                    yield delta.text

    async def complete(self, prompt: Prompt, *, system: str | None = None) -> str:
        return (await self._answer(prompt, system)).text

    async def structured(self, prompt: Prompt, schema: type[S], *, system: str | None = None) -> S:
        async def ask(messages: Messages, options: Mapping[str, Any]) -> Output:
            return (await self._answer(messages, None, **options)).output()

        messages = messages_of(prompt, system)
        return await structured(schema, messages, ask, self.completions.refused)

    async def call_tool(
        self, prompt: Prompt, tools: Sequence[Tool], *, system: str | None = None
    ) -> ToolCall | str:
        answer = await self._answer(prompt, system, tools=list(map(dict, tools)))
        return answer.tool_call() or answer.text

    async def _answer(self, prompt: Prompt, system: str | None, **options: Any) -> Answer:
        answer = Answer()
        async with self._call(prompt, system, spoken=False, **options) as deltas:
            async for delta in deltas:
                answer.add(delta)
        return answer

    @asynccontextmanager
    async def _call(
        self, prompt: Prompt, system: str | None, *, spoken: bool, **options: Any
    ) -> AsyncGenerator[AsyncGenerator[Delta, None], None]:
        node = current_node.get()
        call = self.completions.call(messages_of(prompt, system), **options)
        try:
            async with aclosing(call.deltas()) as deltas:
                yield deltas
        finally:
            if node is not None:
                node.calls.ended(call.usage, call.finish_reason, spoken=spoken and node.speaks)
