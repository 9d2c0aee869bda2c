"""From the bytes of a streamed chat completion to its deltas, and no more work than that.

The SDK's own objects cost more per token than all the rest together; its decoder also lets
lone surrogates pass, which break later, and fails with errors outside its own family.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from domain.errors import UpstreamBadResponse, UpstreamError
from domain.events import Usage

_DONE = b"[DONE]"
_MAX_EVENT_BYTES = 16 * 2**20


class ToolCallPart(NamedTuple):
    """A piece of one tool call; the `arguments` of all parts of a `number` belong together."""

    number: int
    id: str | None
    name: str | None
    arguments: str


class Delta(NamedTuple):
    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    tool_calls: tuple[ToolCallPart, ...] = ()


class EventSplitter:
    """Splits a body into the data of its server-sent events, wherever its reads end.

    What a read leaves incomplete is joined once, so that a long event costs linear time. An
    event that the end of the body leaves incomplete never was one, as the standard has it.
    """

    def __init__(self) -> None:
        self._partial: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._line_end = b""

    def feed(self, read: bytes) -> Iterator[bytes]:
        if b"\r" in read or self._after_cr:
            read = self._with_plain_line_ends(read)
        # The empty line that ends an event may have begun with the last read.
        events, blank_line, rest = (self._line_end + read).rpartition(b"\n\n")
        if blank_line:
            yield from _data_of(b"".join((*self._partial, events)))
            self._partial.clear()
            self._size = 0
        self._keep(rest)

    def _with_plain_line_ends(self, read: bytes) -> bytes:
        if self._after_cr:
            read = read.removeprefix(b"\n")
        self._after_cr = read.endswith(b"\r")
        return read.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _keep(self, rest: bytes) -> None:
        partial = rest.removesuffix(b"\n")
        self._line_end = rest[len(partial) :]
        if partial:
            self._partial.append(partial)
            self._size += len(partial)
            if self._size > _MAX_EVENT_BYTES:
                raise UpstreamBadResponse("an event without an end")


def _data_of(events: bytes) -> Iterator[bytes]:
    for event in events.split(b"\n\n"):
        if event.startswith(b"data: ") and b"\n" not in event:
            yield event[6:]
            continue
        fields = [line.partition(b":") for line in event.split(b"\n")]
        data = [value.removeprefix(b" ") for name, _, value in fields if name == b"data"]
        if data:
            yield b"\n".join(data)


class DeltaDecoder:
    """Raises UpstreamBadResponse for what is not the protocol, UpstreamError for its errors.

    Deltas that say nothing to us are left out: roles, reasoning, empty choices.
    """

    def __init__(self) -> None:
        self._splitter = EventSplitter()
        self.finished = False
        """A finish reason has been seen: the answer is complete."""

    def feed(self, read: bytes) -> Iterator[Delta]:
        for data in self._splitter.feed(read):
            if data != _DONE and (delta := _delta(data)):
                if delta.finish_reason:
                    self.finished = True
                yield delta


def _delta(data: bytes) -> Delta | None:
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise UpstreamBadResponse("broken JSON") from error
    if type(chunk) is not dict:
        raise UpstreamBadResponse("a chunk that is no object")
    if chunk.get("error"):
        raise UpstreamError("an error object in the stream")
    try:
        return _of_chunk(chunk)
    except (AttributeError, KeyError, TypeError) as error:
        raise UpstreamBadResponse("a chunk of another shape") from error


def _of_chunk(chunk: dict[str, Any]) -> Delta | None:
    usage = _usage(chunk.get("usage"))
    choices = chunk.get("choices")
    if not choices:
        return Delta(usage=usage) if usage else None
    choice = choices[0]
    delta = choice.get("delta") or {}
    # A refusal is what the model said: its user must see it, as any other answer.
    text = delta.get("content") or delta.get("refusal") or ""
    finish_reason = choice.get("finish_reason") or None
    calls = delta.get("tool_calls")
    if not (text or finish_reason or calls or usage):
        return None
    if type(text) is not str or type(finish_reason) not in _TEXT_OR_NONE:
        raise UpstreamBadResponse("a chunk of another shape")
    return Delta(text, finish_reason, usage, tuple(map(_part, calls)) if calls else ())


_TEXT_OR_NONE = (str, type(None))


def _usage(usage: object) -> Usage | None:
    """None for what cannot be counted with: no answer shall fail for its bill."""
    match usage:
        case {
            "prompt_tokens": int(given),
            "completion_tokens": int(made),
            "total_tokens": int(sum_),
        }:
            return Usage(given, made, sum_)
        case {"prompt_tokens": int(given), "completion_tokens": int(made)}:
            return Usage(given, made, given + made)
        case _:
            return None


def _part(call: dict[str, Any]) -> ToolCallPart:
    function = call.get("function") or {}
    part = ToolCallPart(
        call.get("index") or 0,
        call.get("id"),
        function.get("name"),
        function.get("arguments") or "",
    )
    if (
        type(part.number) is not int
        or type(part.id) not in _TEXT_OR_NONE
        or type(part.name) not in _TEXT_OR_NONE
        or type(part.arguments) is not str
    ):
        raise UpstreamBadResponse("a tool call of another shape")
    return part
