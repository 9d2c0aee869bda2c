"""What the events of a streamed answer say: their text, their end, and nothing of their cost.

Decoded past the SDK's objects, and tolerant: an event of another shape is only not understood,
for it is the caller's to read.
"""

from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import msgspec

from sluice.application.model_calls import ToolCallPiece
from sluice.domain.errors import UpstreamBadResponse, UpstreamError
from sluice.domain.events import Usage
from sluice.infrastructure.llm.chunks import error_in, text_and_thought, words_in
from sluice.infrastructure.llm.failures import failure_in, of_error

from .ends import failure_of, finish_reason_in, responses_finish_reason, usage_of
from .shapes import Choice, Delta, Event, chunk_of, event_of

_NOT_UNDERSTOOD = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class ParsedEvent(NamedTuple):
    """`plain`: the event adds text to its answer, or nothing, and means nothing else.

    `thinks`: the event's content has thoughts in it, which is a sign of life; they are the
    caller's to tell. `uncounted`: it is no more than a usage that holds no numbers.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallPiece, ...] = ()
    plain: bool = False
    thinks: bool = False
    uncounted: bool = False


_NOTHING = ParsedEvent()
_UNCOUNTED = ParsedEvent(uncounted=True)


class EventReader(Protocol):
    """Hears the events of one answer. `finished`: it is complete. `failure`: its upstream said
    that it could not make it. `read` gives None for what is no event of it.
    """

    usage: Usage | None
    finish_reason: str | None
    failure: UpstreamError | None

    @property
    def finished(self) -> bool: ...

    def read(self, data: bytes) -> ParsedEvent | None: ...


class ChatEventReader:
    """Chat completions. What is said is the first choice; all of them have to finish.

    `as_langchain`: what is said is what LangChain makes the message's content of: whatever
    choice a chunk begins with, and no refusal.
    """

    def __init__(self, *, as_langchain: bool) -> None:
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.failure: UpstreamError | None = None
        self._as_langchain = as_langchain
        self._open: set[int | None] = set()
        self._finished: set[int | None] = set()

    @property
    def finished(self) -> bool:
        return bool(self._finished) and not self._open

    def read(self, data: bytes) -> ParsedEvent | None:
        try:
            chunk = chunk_of(data)
        except _NOT_UNDERSTOOD:
            return None
        if error := error_in(chunk.error, chunk.x_groq):
            self.failure = of_error(error)
        if chunk.usage is not None:
            self.usage = usage_of(chunk.usage) or self.usage
        if not chunk.choices:
            if not error and failure_in(data):
                return None
            return _UNCOUNTED if chunk.usage and _holds_no_numbers(chunk.usage) else _NOTHING
        for choice in chunk.choices:
            self._progress(choice)
        first = chunk.choices[0]
        if type(first.delta) is not Delta or (first.index and not self._as_langchain):
            return _NOTHING
        alone = len(chunk.choices) == 1 and chunk.usage is None and not error
        return self._said(first.delta, plain=alone and _ordinary(first, first.delta))

    def _progress(self, choice: Choice) -> None:
        index, given = choice.index, choice.finish_reason
        reason = given and finish_reason_in(given)
        if reason or (given and not isinstance(given, str)):
            self._open.discard(index)
            self._finished.add(index)
            if reason and not index:
                self.finish_reason = reason
        elif index not in self._finished:
            self._open.add(index)
        error = choice.error or (type(choice.delta) is Delta and choice.delta.error)
        if reason or error:
            self.failure = self.failure or failure_of(reason, error)

    def _said(self, delta: Delta, *, plain: bool) -> ParsedEvent:
        text = delta.content or ""
        aloud = (
            delta.reasoning_content or delta.reasoning or delta.thinking or delta.reasoning_details
        )
        if plain and not (delta.refusal or aloud):
            return ParsedEvent(text, plain=True)
        text, thought = _parts(text)
        if not self._as_langchain:
            text = text or _text(delta.refusal)
        tools = delta.tool_calls or (delta.function_call and [{"function": delta.function_call}])
        pieces = tuple(_tool_pieces(tools)) if isinstance(tools, list) else ()
        return ParsedEvent(text, words_in(aloud), pieces, plain, thinks=bool(thought))


def _holds_no_numbers(usage: object) -> bool:
    if not isinstance(usage, dict):
        return True
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    return not all(count is None or type(count) in (int, float) for count in counts)


def _ordinary(choice: Choice, said: Delta) -> bool:
    return (
        not (choice.finish_reason or choice.logprobs or choice.error or choice.index)
        and not (said.tool_calls or said.function_call or said.error)
        and (said.role is None or said.role == "assistant")
        and (said.content is None or type(said.content) is str)
    )


def _tool_pieces(calls: list[Any]) -> list[ToolCallPiece]:
    pieces = []
    for call in calls:
        if isinstance(call, dict):
            function = call.get("function")
            function = function if isinstance(function, dict) else {}
            index, name = call.get("index"), function.get("name")
            pieces.append(
                ToolCallPiece(
                    index if isinstance(index, int) else 0,
                    _text(call.get("id")) or None,
                    _text(name) or None,
                    _text(function.get("arguments")),
                )
            )
    return pieces


class ResponsesEventReader:
    """The Responses API: each event has its `type`."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.failure: UpstreamError | None = None
        self.finished = False
        self._called = False

    def read(self, data: bytes) -> ParsedEvent | None:
        try:
            event = event_of(data)
        except _NOT_UNDERSTOOD:
            return None
        match event.type:
            case "response.output_text.delta" | "response.refusal.delta":
                return ParsedEvent(_text(event.delta))
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                return ParsedEvent(reasoning=_text(event.delta))
            case "response.function_call_arguments.delta":
                return ParsedEvent(tool_calls=(self._piece(event, arguments=_text(event.delta)),))
            case "response.output_item.added" if event.item.get("type") == "function_call":
                self._called = True
                call_id, name = _text(event.item.get("call_id")), _text(event.item.get("name"))
                return ParsedEvent(tool_calls=(self._piece(event, call_id, name),))
            case "response.completed" | "response.incomplete" | "response.failed":
                self.finished = event.type != "response.failed"
                if not self.finished:
                    self.failure = of_error(event.response.get("error"))
                self.usage = usage_of(event.response.get("usage")) or self.usage
                self.finish_reason = self._reason(event.response)
            case "error":
                self.failure = of_error(
                    event.error or {"code": event.code, "message": event.message}
                )
            case _:
                pass
        return _NOTHING

    def _reason(self, response: dict[str, Any]) -> str | None:
        return responses_finish_reason(
            response.get("status"), response.get("incomplete_details"), called=self._called
        )

    def _piece(
        self, event: Event, call_id: str = "", name: str = "", arguments: str = ""
    ) -> ToolCallPiece:
        index = event.output_index if isinstance(event.output_index, int) else 0
        return ToolCallPiece(index, call_id or None, name or None, arguments)


def _parts(content: object) -> tuple[str, str]:
    """Text and thoughts of a content, as far as they can be read."""
    if isinstance(content, list):
        with suppress(UpstreamBadResponse):
            return text_and_thought(content)
    return _text(content), ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
