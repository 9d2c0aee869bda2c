"""What a run's answer is: the contract's rule, and what counts as a message."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import uuid4

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    RemoveMessage,
    ToolMessage,
    convert_to_messages,
)
from langgraph.types import Command, Overwrite
from pydantic import TypeAdapter

from sluice.domain.errors import PipelineError

_HAND_OVER = "__is_handoff_back"
"""langgraph-supervisor marks the phrase so with which it makes a worker hand back."""
_OVERWRITE = "__overwrite__"


class Answer:
    """Gathers what nodes say in messages; `given` are the ids of those in the run's input."""

    def __init__(self, given: frozenset[str]) -> None:
        self._given = given
        self._added: dict[str, AIMessage] = {}
        self._passing: dict[str, None] = {}
        """Keys of what was added to a graph inside, which the outermost may never see."""
        self._direct: dict[str, None] = {}
        """Ids of the tool calls whose results are the answer as they are."""
        self._direct_tools: dict[str, None] = {}
        """Names of tools made for that, in agents that a node runs by itself."""

    def noted(self) -> dict[str, Any]:
        """What was gathered, as JSON, for `recall`: the state has the messages themselves."""
        added = [[key, str(message.text)] for key, message in self._added.items()]
        return {"added": added, "passing": sorted(self._passing), "direct": sorted(self._direct)}

    def recall(self, note: Mapping[str, Any]) -> None:
        """What was gathered before the run paused."""
        self._added = {key: AIMessage(text) for key, text in note["added"]}
        self._passing = dict.fromkeys(note["passing"])
        self._direct = dict.fromkeys(note["direct"])

    def add(self, output: object, before: object, *, inside: bool) -> None:
        """Keeps the AI messages of a speaking node's output which `before`, its input, had not.

        A message in another form than LangChain's objects has no id before LangGraph gives it
        one, so it is known by its text.
        """
        known = {m.id: m.content for m in _messages(values_of(before).get("messages")) if m.id}
        for message in written(output):
            if not isinstance(message, AIMessage) or _is_hand_over(message):
                continue
            if message.id in self._given or (
                message.id is not None and known.get(message.id) == message.content
            ):
                continue
            self._keep(message, inside=inside)

    def _keep(self, message: AIMessage, *, inside: bool) -> None:
        key = message.id or f"{_NAMELESS}{uuid4()}"
        self._added[key] = message
        if inside:
            self._passing[key] = None

    def replace(self, output: object, *, inside: bool) -> None:
        """Keeps the AI messages of a silent node's output that stand for what it removes.

        So a guard may take an answer back. Who removes the question as well only tidies up.
        """
        messages = [*written(output)]
        removed = {str(each.id) for each in messages if isinstance(each, RemoveMessage)}
        said = removed & self._added.keys()
        instead = [message for message in messages if isinstance(message, AIMessage)]
        if not said or not instead or removed & self._given:
            return
        for key in said:
            del self._added[key]
            self._passing.pop(key, None)
        for message in instead:
            self._keep(message, inside=inside)

    def add_direct(self, output: object, tools: Mapping[str, Any]) -> None:
        """Keeps the results in a tool node's output whose tools are made to end the turn."""
        for message in written(output):
            if isinstance(message, ToolMessage) and message.status != "error":
                tool = tools.get(message.name or "")
                if getattr(tool, "return_direct", False):
                    self._direct[message.tool_call_id] = None

    def know_direct(self, tools: Iterable[Any]) -> None:
        """Of a graph that a node runs by itself nothing else is known than what it is made of."""
        direct = (tool.name for tool in tools if getattr(tool, "return_direct", False))
        self._direct_tools |= dict.fromkeys(direct)

    def of(self, values: Mapping[str, Any]) -> str:
        """Raises PipelineError when the final state has none."""
        answer = values.get("answer")
        if isinstance(answer, str) and answer:
            return answer
        messages = _messages(values.get("messages"))
        said = "".join(str(message.text) for message in self._said(messages))
        if text := said + (self._result(messages) or _structured(values, messages)):
            return text
        last = next((m for m in reversed(messages) if _is_said(m)), None)
        if last is not None and last.id not in self._given and (text := str(last.text)):
            return text
        if isinstance(answer, str):
            return answer
        raise PipelineError("the graph ended without an answer")

    def _said(self, messages: list[BaseMessage]) -> list[AIMessage]:
        """The messages added, as they stand in the final state, if they do."""
        now = dict(self._now(messages))
        if not now:
            return list(self._added.values())
        kept = [key for key in self._added if key in now or key in self._passing]
        if all(key in now for key in kept):
            return list(now.values())
        return [now.get(key, self._added[key]) for key in kept]

    def _now(self, messages: list[BaseMessage]) -> Iterator[tuple[str, AIMessage]]:
        nameless = [key for key in self._added if key.startswith(_NAMELESS)]
        for message in messages:
            if not isinstance(message, AIMessage) or message.id in self._given:
                continue
            key = message.id or ""
            if key not in self._added:
                texts = (each for each in nameless if self._added[each].text == message.text)
                key = next(texts, "")
            if key in self._added:
                if key in nameless:
                    nameless.remove(key)
                yield key, message

    def _result(self, messages: list[BaseMessage]) -> str:
        """Of the tools whose result ends the turn, when it has ended with them."""
        results: list[str] = []
        for message in reversed(messages):
            if not (isinstance(message, ToolMessage) and self._is_direct(message)):
                break
            results.insert(0, str(message.text))
        return "".join(results)

    def _is_direct(self, message: ToolMessage) -> bool:
        return message.tool_call_id in self._direct or (
            message.name in self._direct_tools and message.status != "error"
        )


_NAMELESS = "?"
_json = TypeAdapter(Any).dump_json


def _structured(values: Mapping[str, Any], messages: list[BaseMessage]) -> str:
    """As JSON, when the agent ended by a call with its answer in it, and not by a message."""
    response = values.get("structured_response")
    last = next((m for m in reversed(messages) if isinstance(m, AIMessage)), None)
    if response is None or (last is not None and not last.tool_calls):
        return ""
    return _json(response, fallback=str).decode()


def _is_said(message: BaseMessage) -> bool:
    return isinstance(message, AIMessage) and not _is_hand_over(message)


def _is_hand_over(message: AIMessage) -> bool:
    return bool(message.response_metadata.get(_HAND_OVER))


def values_of(state: object) -> Mapping[str, Any]:
    """Of a state in any of the forms that a schema may have."""
    return state if isinstance(state, Mapping) else getattr(state, "__dict__", {})


def ids_of(values: Mapping[str, Any]) -> frozenset[str]:
    """Of the messages in a state."""
    return frozenset(str(message.id) for message in _messages(values.get("messages")))


def written(output: object) -> Iterator[BaseMessage]:
    """The messages in a node's output, in every form that LangGraph takes."""
    outputs = output if isinstance(output, list | tuple) else [output]
    for one in outputs:
        update = one.update if isinstance(one, Command) else one
        if isinstance(update, Mapping) and "messages" in update:
            yield from _messages(update["messages"])
        elif isinstance(update, list | tuple) and isinstance(one, Command):
            for key, value in update:
                if key == "messages":
                    yield from _messages(value)
        elif hasattr(update, "messages"):  # a state of the graph's own class
            yield from _messages(update.messages)
        else:  # messages as they are
            yield from _messages(update)


def _messages(value: object) -> list[BaseMessage]:
    """As `add_messages` takes them: one or a list, of objects, pairs, dicts, strings."""
    if isinstance(value, Overwrite):
        value = value.value
    elif isinstance(value, Mapping) and _OVERWRITE in value:
        value = value[_OVERWRITE]
    items: Iterable[object] = value if isinstance(value, list) else [value]
    return [message for item in items for message in _message(item)]


def _message(item: Any) -> list[BaseMessage]:
    if isinstance(item, BaseMessage):
        if item.id is None and isinstance(item, AIMessage):
            item.id = str(uuid4())
        return [item]
    if item is None or (isinstance(item, Mapping) and "content" not in item and "lc" not in item):
        return []  # what LangChain would say too, by an error that it takes long to word
    try:
        return convert_to_messages([dict(item) if isinstance(item, Mapping) else item])
    except (ValueError, TypeError, NotImplementedError, KeyError):  # what is no message
        return []
