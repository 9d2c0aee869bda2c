"""What is told beside an answer, as a value: tool calls and reasoning, by numbers of their own.

A model may use a call's id again, in one job or in another, and clients find a call by its id in
all that they show: so none of the model's ids goes to them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sluice.domain.chat import JobId
from sluice.domain.events import (
    Cancelled,
    Done,
    Event,
    Failed,
    NeedsInput,
    Reasoning,
    Reset,
    Token,
    Tool,
    ToolStatus,
)
from sluice.interfaces.protocols.said import NOTHING, Said

FAILED = "The tool failed."
"""Why it did is told to nobody."""
_OVER = ("completed", "failed")


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call, as far as it was told: `status` is its last step."""

    number: int
    call_id: str
    name: str
    status: ToolStatus
    arguments: str | None = None
    result: str | None = None

    @property
    def over(self) -> bool:
        return self.status in _OVER

    @property
    def input(self) -> Any:
        """The arguments, read; as text if they are no JSON, None if they were never told."""
        try:
            return None if self.arguments is None else json.loads(self.arguments)
        except (ValueError, RecursionError):
            return self.arguments

    @property
    def args(self) -> Mapping[str, Any]:
        """The arguments by name, as far as they have any."""
        return self.input if isinstance(self.input, dict) else {}


@dataclass(frozen=True, slots=True)
class Thought:
    """What a node thinks aloud, until it does something else."""

    number: int
    node: str
    said: Said = NOTHING
    open: bool = True


Item = Call | Thought


@dataclass(frozen=True, slots=True)
class Beside:
    """`items` in the order of their beginnings; `thinking`: how many thoughts are open.

    `dropped`: how many items there were before, in attempts that are lost.
    """

    items: tuple[Item, ...] = ()
    thinking: int = 0
    dropped: int = 0

    def step(self, tool: Tool) -> tuple["Beside", Call | None, Call]:
        """The call as it was before this step, None if it is its first, and as it is now.

        A step that comes twice changes nothing; one behind the call's end begins another call.
        """
        calls = [one for one in self.items if isinstance(one, Call)]
        before = next((one for one in reversed(calls) if one.call_id == tool.call_id), None)
        if before is None or before.over:
            call = Call(self._next, tool.call_id, tool.name, tool.status)
            before = None
        else:
            call = before
        if tool.status != "started":
            call = replace(
                call,
                status=tool.status,
                arguments=call.arguments if tool.arguments is None else tool.arguments,
                result=tool.result,
            )
        return self._with(call), before, call

    def think(self, piece: Reasoning) -> tuple["Beside", bool, Thought]:
        """Whether the thought is a new one, and the thought."""
        open_now = (one for one in self.items if isinstance(one, Thought) and one.open)
        thought = next((one for one in open_now if one.node == piece.node), None)
        begins = thought is None
        if thought is None:
            thought = Thought(self._next, piece.node)
        thought = replace(thought, said=thought.said.add(piece.content))
        return replace(self._with(thought), thinking=self.thinking + begins), begins, thought

    def conclude(self, node: str | None = None) -> tuple["Beside", list[Thought]]:
        """The thoughts that end here: those of a node, or all."""
        if not self.thinking:
            return self, []
        ended = [
            replace(one, open=False)
            for one in self.items
            if isinstance(one, Thought) and one.open and node in (None, one.node)
        ]
        beside = self
        for one in ended:
            beside = beside._with(one)
        return replace(beside, thinking=self.thinking - len(ended)), ended

    def drop(self) -> "Beside":
        return Beside(dropped=self._next - 1)

    @property
    def _next(self) -> int:
        return self.dropped + len(self.items) + 1

    def _with(self, item: Item) -> "Beside":
        index = item.number - self.dropped - 1
        return replace(self, items=(*self.items[:index], item, *self.items[index + 1 :]))


NOTHING_BESIDE = Beside()


def after(beside: Beside, event: Event) -> Beside:
    """What an event leaves of it, for who tells nothing in between."""
    match event:
        case Token(node=node):
            return beside.conclude(node)[0]
        case Tool(node=node):
            return beside.conclude(node)[0].step(event)[0]
        case Reasoning():
            return beside.think(event)[0]
        case Reset(reason):
            return beside.conclude()[0] if reason == "revised" else beside.drop()
        case NeedsInput() | Done() | Failed() | Cancelled():
            return beside.conclude()[0]
    return beside


def call_id(job_id: JobId, call: Call) -> str:
    return f"call_{job_id}-{call.number}"


def thought_id(job_id: JobId, thought: Thought) -> str:
    return f"reasoning_{job_id}-{thought.number}"
