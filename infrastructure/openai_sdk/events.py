"""What the events of a streamed answer say: their text, their end, and nothing of their cost.

Decoded past the SDK's objects, and tolerant: an event of another shape is only not understood,
for it is the caller's to read.
"""

from typing import Any, NamedTuple, Protocol

import msgspec

from sluice.application.model_calls import ToolCallPiece
from sluice.domain.errors import UpstreamError
from sluice.domain.events import Usage
from sluice.infrastructure.llm.failures import of_error

from .ends import failure_of, responses_finish_reason, usage_of

_NOT_UNDERSTOOD = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class ParsedEvent(NamedTuple):
    """`plain`: the event adds text to its answer, or nothing, and means nothing else."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallPiece, ...] = ()
    plain: bool = False


_NOTHING = ParsedEvent()


class EventReader(Protocol):
    """Hears the events of one answer. `finished`: it is complete. `failure`: its upstream said
    that it could not make it. `unsure`: an event was not understood, so nothing is proved.
    """

    usage: Usage | None
    finish_reason: str | None
    failure: UpstreamError | None
    unsure: bool

    @property
    def finished(self) -> bool: ...

    def read(self, data: bytes) -> ParsedEvent: ...


class ChatEventReader:
    """Chat completions. What is said is the first choice; all of them have to finish.

    `as_langchain`: what is said is what LangChain makes the message's content of: whatever
    choice a chunk begins with, and no refusal.
    """

    def __init__(self, *, as_langchain: bool) -> None:
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.failure: UpstreamError | None = None
        self.unsure = False
        self._as_langchain = as_langchain
        self._open: set[int | None] = set()
        self._finished: set[int | None] = set()

    @property
    def finished(self) -> bool:
        return bool(self._finished) and not self._open

    def read(self, data: bytes) -> ParsedEvent:
        try:
            chunk = _chunk(data)
        except _NOT_UNDERSTOOD:
            self.unsure = True
            return _NOTHING
        if chunk.error:
            self.failure = of_error(chunk.error)
        if chunk.usage is not None:
            self.usage = usage_of(chunk.usage) or self.usage
        if not chunk.choices:
            return _NOTHING
        for choice in chunk.choices:
            self._progress(choice)
        first = chunk.choices[0]
        if first.delta is None or (first.index and not self._as_langchain):
            return _NOTHING
        alone = len(chunk.choices) == 1 and chunk.usage is None and not chunk.error
        return self._said(first.delta, plain=alone and _ordinary(first))

    def _progress(self, choice: "_Choice") -> None:
        index, reason = choice.index, choice.finish_reason
        if reason:
            self._open.discard(index)
            self._finished.add(index)
            if not index and isinstance(reason, str):
                self.finish_reason = reason
        elif index not in self._finished:
            self._open.add(index)
        if reason or choice.error:
            self.failure = self.failure or failure_of(reason, choice.error)

    def _said(self, delta: "_Delta", *, plain: bool) -> ParsedEvent:
        text = delta.content or ""
        if plain and not (delta.refusal or delta.reasoning_content or delta.reasoning):
            return ParsedEvent(text, plain=True)
        if not self._as_langchain:
            text = text or delta.refusal
        tools = delta.tool_calls
        return ParsedEvent(
            _text(text),
            _text(delta.reasoning_content) or _text(delta.reasoning),
            tuple(_tool_pieces(tools)) if isinstance(tools, list) else (),
            plain,
        )


def _ordinary(choice: "_Choice") -> bool:
    said = choice.delta or _Delta()
    return (
        not (choice.finish_reason or choice.logprobs or choice.error or choice.index)
        and not (said.tool_calls or said.function_call)
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
        self.unsure = self.finished = False
        self._called = False

    def read(self, data: bytes) -> ParsedEvent:
        try:
            event = _event(data)
        except _NOT_UNDERSTOOD:
            self.unsure = True
            return _NOTHING
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
        self, event: "_Event", call_id: str = "", name: str = "", arguments: str = ""
    ) -> ToolCallPiece:
        index = event.output_index if isinstance(event.output_index, int) else 0
        return ToolCallPiece(index, call_id or None, name or None, arguments)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


class _Delta(msgspec.Struct, gc=False):
    role: Any = None
    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None
    function_call: Any = None


class _Choice(msgspec.Struct, gc=False):
    index: int | None = 0
    delta: _Delta | None = None
    finish_reason: Any = None
    logprobs: Any = None
    error: Any = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: Any = None
    output_index: Any = None
    item: dict[str, Any] = {}
    response: dict[str, Any] = {}
    error: Any = None
    code: Any = None
    message: Any = None


_chunk = msgspec.json.Decoder(_Chunk).decode
_event = msgspec.json.Decoder(_Event).decode
