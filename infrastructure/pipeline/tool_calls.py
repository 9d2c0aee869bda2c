"""A tool call as the user sees it: named, given its arguments, ended."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any
from uuid import UUID

from langchain_core.messages import ToolMessage
from langgraph.types import Command

from sluice.application.compact_json import compact
from sluice.domain.events import Json, Tool, ToolStatus
from sluice.infrastructure.pipeline.answers import written
from sluice.infrastructure.pipeline.namespaces import path_of
from sluice.infrastructure.pipeline.running_node import RunningNode

MAX_ARGUMENT_BYTES = 64 * 1024
"""Of JSON in UTF-8: arguments are told whole, or not at all."""
MAX_RESULT_CHARACTERS = 16 * 1024
"""A longer result is cut, and ends in an ellipsis."""


@dataclass(slots=True)
class ToolCall:
    """One call. Its events are told in the order of `queue`, the node run that named it first."""

    id: str
    name: str
    queue: str
    parent: str | None
    argued: bool = False
    place: tuple[RunningNode, str] | None = None

    @property
    def placed(self) -> tuple[RunningNode, str]:
        """Where it runs."""
        assert self.place is not None  # noqa: S101 - it runs
        return self.place

    def tell(
        self, node: RunningNode, namespace: str, status: ToolStatus, **fields: str | None
    ) -> None:
        call_id, name = encodable(self.id), encodable(self.name)
        path = path_of(namespace)
        event = Tool(call_id, name, path, status, self.parent, **fields)
        node.show(namespace, event, self.queue)

    def argue(self, node: RunningNode, namespace: str, arguments: object) -> None:
        """Tells the arguments once; never those that JSON cannot say, or that are too long."""
        if self.argued:
            return
        try:
            text = encodable(compact(arguments))
        except (TypeError, ValueError, RecursionError):
            return
        if len(text.encode()) <= MAX_ARGUMENT_BYTES:
            self.argued = True
            self.tell(node, namespace, "arguments", arguments=text)

    def end(self, node: RunningNode, namespace: str, output: object) -> None:
        """Tells the result; of a failure, which a message may report, only that it is one."""
        message = self._answer_in(output)
        if message is not None and message.status == "error":
            self.fail(node, namespace)
            return
        text = _text(output if message is None else message)
        self.tell(node, namespace, "completed", result=text and encodable(text))

    def fail(self, node: RunningNode, namespace: str, _: object = None) -> None:
        self.tell(node, namespace, "failed")

    def _answer_in(self, output: object) -> ToolMessage | None:
        """The message that answers the call, also in a Command or a list of them."""
        messages = [message for message in written(output) if isinstance(message, ToolMessage)]
        mine = (message for message in messages if message.tool_call_id == self.id)
        return next(mine, None)


@dataclass(slots=True)
class ModelCall:
    """A model at work: what of it is heard at `namespace`, and the tool calls it has begun."""

    node: RunningNode
    namespace: str
    tools: bool
    reasons: bool
    parent: str | None
    begun: dict[str, ToolCall] = field(default_factory=dict)
    thought: bool = False
    below: bool = False
    """Its client tells its thoughts, LangChain's reports of them are not needed."""


@dataclass(slots=True)
class ToolCalls:
    """The calls of a run that are under way.

    `announced`: by their ids, those that a model has named and nobody has run yet; `running`: by
    the run of their tool.
    """

    announced: dict[str, ToolCall] = field(default_factory=dict)
    running: dict[UUID, ToolCall] = field(default_factory=dict)
    _outer: dict[UUID, UUID | None] = field(default_factory=dict)

    def noted(self) -> list[Json]:
        """Those that are announced, for `recall`, when the run goes on after a pause."""
        return [
            [call.id, call.name, call.queue, call.parent, call.argued]
            for call in self.announced.values()
        ]

    def recall(self, note: Iterable[Any]) -> None:
        self.announced = {call[0]: ToolCall(*call) for call in note}

    def runs_in(self, run_id: UUID, outer: UUID | None) -> None:
        self._outer[run_id] = outer

    def over(self, run_id: UUID) -> None:
        self._outer.pop(run_id, None)

    def around(self, run_id: UUID | None) -> str | None:
        """The id of the innermost call inside which that run is."""
        while run_id is not None:
            if call := self.running.get(run_id):
                return encodable(call.id)
            run_id = self._outer.get(run_id)
        return None


def failed_quietly() -> bool:
    """In `on_tool_end`: whether the tool has made its answer of an error.

    Without a call's id LangChain hands on the text alone; what it is stays in the method that
    ran the tool, which stands below on the stack.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in _RUNS and frame.f_globals.get("__name__") == _TOOLS:
            return frame.f_locals.get("status") == "error"
        frame = frame.f_back
    return False


def is_agents_model(name: str, metadata: Mapping[str, Any]) -> bool:
    """Whether a node asks the model of one of LangChain's agents."""
    return name == "model" and metadata.get("ls_integration") == "langchain_create_agent"


def lacks_its_response(output: object) -> bool:
    """Of an agent's model that answers its own call for a structured response: it could not be
    taken, and its answer, without an error's status, is to ask the model once more.
    """
    outputs = output if isinstance(output, list | tuple) else [output]
    updates = [one.update if isinstance(one, Command) else one for one in outputs]
    responses = (one.get("structured_response") for one in updates if isinstance(one, Mapping))
    return all(response is None for response in responses)


_RUNS, _TOOLS = ("run", "arun"), "langchain_core.tools.base"


def encodable(text: str) -> str:
    """Without lone surrogates, which a model's JSON may hold and UTF-8 cannot say."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _text(result: object) -> str | None:
    """None where there is no text to be had of it."""
    match result:
        case str():
            text = result
        case ToolMessage():
            text = str(result.text)
        case Command() | None:
            return None
        case _:
            text = _json(result)
    if len(text) > MAX_RESULT_CHARACTERS:
        text = text[: MAX_RESULT_CHARACTERS - 1] + "…"
    return text


def _json(value: Any) -> str:
    try:
        return compact(value)
    except (TypeError, ValueError, RecursionError):
        return ""
