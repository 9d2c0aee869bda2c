"""Asking the model itself: what a chat front end wants to know beside a chat, as its title."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sluice.application.model_calls import ModelCalls, NodeRun, current_node
from sluice.domain.chat import Turn, UserId
from sluice.domain.errors import DeadlineExceeded, LimitReached
from sluice.domain.events import Usage
from sluice.domain.ports import LLMClientPort


@dataclass(frozen=True, slots=True)
class SideAnswer:
    text: str
    usage: Usage | None


class AskModel:
    """No job, no chat, no figure: one call, within bounds of its own.

    `calls` and `user_calls` are how many there may be at once, of all and of one user; None for
    no bound. `deadline` is in seconds.
    """

    def __init__(
        self, llm: LLMClientPort, *, calls: int, user_calls: int | None, deadline: float
    ) -> None:
        self._llm, self._calls, self._user_calls = llm, calls, user_calls
        self._deadline = deadline
        self._open: Counter[UserId] = Counter()

    async def __call__(self, user: UserId, turns: Sequence[Turn], model: str | None) -> SideAnswer:
        """Raises ChatError and LimitReached; a cancellation stops the model."""
        if self._open.total() >= self._calls:
            raise LimitReached("the service is busy", per_user=False)
        if self._user_calls is not None and self._open[user] >= self._user_calls:
            raise LimitReached("too many calls at once", per_user=True)
        self._open[user] += 1
        calls = ModelCalls(model)
        token = current_node.set(NodeRun(calls, "", speaks=False))
        try:
            async with asyncio.timeout(self._deadline):
                prompt = [{"role": turn.role, "content": turn.content} for turn in turns]
                text = await self._llm.complete(prompt)
        except TimeoutError as error:
            raise DeadlineExceeded from error
        finally:
            current_node.reset(token)
            self._open[user] -= 1
            if not self._open[user]:
                del self._open[user]
        return SideAnswer(text, calls.usage)
