"""From the bytes of a streamed chat completion to its deltas, and no more work than that.

The SDK's own objects cost more per token than all the rest together; its decoder also lets
lone surrogates pass, which break later, and fails with errors outside its own family.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from sluice.domain.errors import UpstreamBadResponse, UpstreamError
from sluice.domain.events import Usage

NO_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises: for broken JSON, for another shape, for UTF-8 that is none, for depth."""

_DONE = b"[DONE]"
_DATA = (b"data", b"\xef\xbb\xbfdata")
"""A body may begin with a byte-order mark."""
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

    def feed(self, read: bytes) -> list[bytes]:
        """Raises UpstreamBadResponse when an event has grown beyond all bounds."""
        within_event = self._line_end or self._partial or self._after_cr
        if read.endswith(b"\n\n") and b"\r" not in read and not within_event:
            if read.startswith(b"data: ") and read.find(b"\n") == len(read) - 2:
                return [read[6:-2]]  # nearly every read is one event, and whole
            return _data_of(read[:-2])
        if b"\r" in read or self._after_cr:
            read = self._with_plain_line_ends(read)
        # The empty line that ends an event may have begun with the last read.
        events, blank_line, rest = (self._line_end + read).rpartition(b"\n\n")
        data: list[bytes] = []
        if blank_line:
            if self._partial:
                events = b"".join((*self._partial, events))
                self._partial.clear()
                self._size = 0
            data = _data_of(events)
        self._keep(rest)
        return data

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


def _data_of(events: bytes) -> list[bytes]:
    found = []
    for event in events.split(b"\n\n"):
        if event.startswith(b"data: ") and b"\n" not in event:
            found.append(event[6:])
            continue
        fields = [line.partition(b":") for line in event.split(b"\n")]
        data = [value.removeprefix(b" ") for name, _, value in fields if name in _DATA]
        if data:
            found.append(b"\n".join(data))
    return found


class DeltaDecoder:
    """Raises UpstreamBadResponse for what is not the protocol, UpstreamError for its errors.

    Deltas that say nothing to us are left out: roles, reasoning, empty choices.
    """

    def __init__(self) -> None:
        self._splitter = EventSplitter()
        self._calls: dict[int, tuple[str | None, int]] = {}
        self.finished = False
        """A finish reason has been seen: the answer is complete."""

    def feed(self, read: bytes) -> Iterator[Delta]:
        """Decoded one by one as they are taken: what comes before a broken one is said."""
        return filter(None, map(self._delta, self._splitter.feed(read)))

    def _delta(self, data: bytes) -> Delta | None:
        if data == _DONE:
            return None
        try:
            chunk = _chunk(data)
        except NO_JSON as error:
            raise UpstreamBadResponse("broken JSON, or a chunk of another shape") from error
        if chunk.error:
            raise UpstreamError("an error object in the stream")
        usage = chunk.usage and _usage(chunk.usage)
        if not chunk.choices:
            return Delta(usage=usage) if usage else None
        choice = chunk.choices[0]
        finish_reason = choice.finish_reason or None
        if finish_reason:
            self.finished = True
        said = choice.delta or _SILENCE
        # A refusal is what the model said: its user must see it, as any other answer.
        text, calls = said.content or said.refusal or "", said.tool_calls
        if not (text or finish_reason or calls or usage):
            return None
        return Delta(text, finish_reason, usage, tuple(map(self._part, calls)) if calls else ())

    def _part(self, call: "_Call") -> ToolCallPart:
        """Its number is its index. But some servers have one for all calls, or none: a new id with
        a name is a new call, while others make a new id for every piece of one.
        """
        function, index, calls = call.function or _Function(), call.index or 0, self._calls
        known, number = calls.setdefault(index, (call.id, index))
        if known and call.id and function.name and call.id != known:
            known, number = call.id, 1 + max(number for _, number in calls.values())
        calls[index] = known or call.id, number
        call_id = call.id if call.id == calls[index][0] else None
        return ToolCallPart(number, call_id, function.name, function.arguments or "")


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Said(msgspec.Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Said | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    """As much of a chunk as anything is made of."""

    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


_chunk = msgspec.json.Decoder(_Chunk).decode


_SILENCE = _Said()


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
