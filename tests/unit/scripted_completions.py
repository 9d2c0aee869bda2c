"""An upstream that answers with given deltas, for the model clients alone."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from sluice.domain.events import Usage
from sluice.infrastructure.llm.decoding import Delta
from sluice.infrastructure.llm.receiver import Hear, Say
from sluice.infrastructure.llm.upstream import ChatCompletions

COST = Usage(1, 2, 3)


class ScriptedCall:
    def __init__(self, deltas: list[Delta | Exception]) -> None:
        self.usage: Usage | None = COST
        self.finish_reason: str | None = "stop"
        self.closed = False
        self.at_once = 1
        """So many deltas are heard before whoever waits is woken."""
        self._deltas = deltas

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        deltas: list[Delta] = []
        async with aclosing(self.heard(deltas.append, 0)) as turns:
            async for _ in turns:
                yield deltas.pop()

    async def heard(
        self, hear: Hear, seconds: float, *, by_user: bool = True, say: Say | None = None
    ) -> AsyncGenerator[None, None]:
        self.seconds, self.by_user = seconds, by_user
        try:
            for n, delta in enumerate(self._deltas, 1):
                if isinstance(delta, Exception):
                    raise delta
                if say is not None and delta == Delta(delta.text):
                    say(delta.text)
                else:
                    hear(delta)
                if n % self.at_once == 0 or n == len(self._deltas):
                    yield
        finally:
            self.closed = True


class ScriptedCompletions(ChatCompletions):
    """Answers each call with these deltas, and keeps what it was asked."""

    def __init__(self, *deltas: Delta | Exception) -> None:
        self.interval = 0.0
        self.asked: list[tuple[Any, dict[str, Any]]] = []
        self.last = ScriptedCall(list(deltas))
        self._known = set[str]()

    def call(self, messages: Any, **options: Any) -> Any:
        self.asked.append((messages, options))
        return self.last

    @property
    def piece_interval(self) -> float:
        return self.interval

    @property
    def refused(self) -> set[str]:
        return self._known
