"""A1's model client: the raw SDK, which LangGraph does not see."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from math import inf
from typing import Any, TypeVar

from sluice.application.model_calls import Emit, current_node
from sluice.domain.ports import Prompt, S, Tool, ToolCall

from .answers import Answer, Output, messages_of
from .decoding import Delta
from .receiver import Hear, Say
from .structuring import Messages, structured
from .upstream import Call, ChatCompletions

T = TypeVar("T")

_UNHEARD = 10
"""So many times as long are pieces joined that no user sees before the end."""


class OpenAILLMClient:
    """Reports each call to the job it belongs to, as no callback will do it."""

    def __init__(self, completions: ChatCompletions) -> None:
        self.completions = completions

    async def stream(
        self, prompt: Prompt, *, system: str | None = None, emit: Emit | None = None
    ) -> AsyncGenerator[str, None]:
        """`emit` is given each text where it arrives; whoever iterates gets those of a while."""
        node, texts = current_node.get(), list[str]()

        def emitted(text: str) -> None:
            if emit is not None:
                emit(text)
            texts.append(text)

        def hear(delta: Delta) -> None:
            if delta.reasoning and node is not None:
                node.reasoning(delta.reasoning)
            if text := delta.text:
                emitted(text)

        by_user = emit is not None
        seconds = self.completions.piece_interval * (1 if by_user else _UNHEARD)
        call = self._call(prompt, system, hear, seconds, spoken=True, by_user=by_user, say=emitted)
        async with call as turns:
            async for _ in turns:
                for piece in ["".join(texts)] if seconds and texts else texts:
                    yield piece
                texts.clear()

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
        call = self._call(prompt, system, answer.add, inf, spoken=False, say=answer.say, **options)
        async with call as turns:
            async for _ in turns:
                pass
        return answer

    def _call(
        self,
        prompt: Prompt,
        system: str | None,
        hear: Hear,
        seconds: float,
        *,
        spoken: bool,
        say: Say,
        by_user: bool = False,
        **options: Any,
    ) -> "_Turns":
        node = current_node.get()
        if node is not None and (progress := node.progress) is not None:
            progress()
            hear, say = _timed(hear, progress), _timed(say, progress)
        call = self.completions.call(messages_of(prompt, system), **options)
        return _Turns(call, call.heard(hear, seconds, by_user=by_user, say=say), spoken=spoken)


def _timed(take: Callable[[T], None], progress: Callable[[], None]) -> Callable[[T], None]:
    def taken(heard: T) -> None:
        progress()
        take(heard)

    return taken


class _Turns:
    """One call, to be iterated within it; left, it is closed and reported. As a generator it would
    take six times as much, for as long as the model says nothing.
    """

    __slots__ = ("_call", "_node", "_spoken", "_turns")

    def __init__(self, call: Call, turns: AsyncGenerator[None, None], *, spoken: bool) -> None:
        self._call, self._turns, self._spoken = call, turns, spoken
        self._node = current_node.get()

    async def __aenter__(self) -> AsyncGenerator[None, None]:
        return self._turns

    async def __aexit__(self, *_: object) -> None:
        call, node = self._call, self._node
        try:
            await self._turns.aclose()
        finally:
            if node is not None:
                spoken = self._spoken and node.speaks
                node.calls.ended(call.usage, call.finish_reason, spoken=spoken)
