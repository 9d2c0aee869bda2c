"""From the bytes of a streamed chat completion to its deltas, and no more work than that.

The SDK's own objects cost more per token than all the rest together; its decoder also lets
lone surrogates pass, which break later, and fails with errors outside its own family.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sluice.domain.errors import UpstreamBadResponse
from sluice.domain.events import Usage

from .alike import AlikeReads
from .chunks import (
    NO_JSON,
    Call,
    Chunk,
    Function,
    Said,
    arguments_of,
    chunk_of,
    error_in,
    loose_chunk_of,
    said_in,
    text_and_thought,
    usage_of,
    words_in,
)
from .event_stream import EventSplitter
from .failures import failure_in, of_choice, of_error, of_finish_reason, reason_in

_DONE = b"[DONE]"
plain = tuple.__new__
"""A named tuple's own `__new__` costs a call in Python, and there is one for each token."""


class ToolCallPart(NamedTuple):
    """A piece of one tool call; the `arguments` of all parts of a `number` belong together."""

    number: int
    id: str | None
    name: str | None
    arguments: str


class Delta(NamedTuple):
    """`reasoning` is what the model thinks aloud: no part of its answer."""

    text: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    tool_calls: tuple[ToolCallPart, ...] = ()
    reasoning: str = ""


class DeltaDecoder:
    """Raises UpstreamBadResponse for what is not the protocol, and for a failure that the
    upstream names the error that `failures` makes of it, also behind a finish reason.

    Other rubbish behind a finish reason is nobody's loss, unless more is said after it. Deltas
    that say nothing are left out: roles, heartbeats, empty choices.
    """

    def __init__(self) -> None:
        self._splitter = EventSplitter()
        self._calls: dict[int, tuple[str | None, int]] = {}
        self._names: dict[int, str] = {}
        self._halves: dict[str | int, str] = {}
        self._lost: Exception | None = None
        self._unsettled = self._begun = False
        self._alike = AlikeReads()
        self.text_in = self._alike.text_in
        """Of a read that is the last one but for its text, which need not be decoded as a whole;
        nothing of any other, which is to be fed.
        """
        self.finished = False
        """A finish reason has been seen: the answer may be complete."""
        self.done = False
        """The upstream has said that nothing will follow."""

    def feed(self, read: bytes) -> Iterator[Delta]:
        """Decoded one by one as they are taken: what comes before a broken one is said."""
        events = self._splitter.feed(read)
        self._alike.forget()
        if self._begun and self._alike.tries and len(events) == 1:
            return self._learnt(read, events[0])
        return filter(None, map(self._delta, events))

    def end(self) -> Iterator[Delta]:
        """To be iterated at the proper end of a body: an event that lacks only its empty line
        counts, one that was cut never was.
        """
        whole = (each for each in self._splitter.end() if each == _DONE or loose_chunk_of(each))
        return filter(None, map(self._delta, whole))

    def check(self) -> None:
        """To be called at any end. Raises UpstreamBadResponse for half a character."""
        if self._halves:
            raise UpstreamBadResponse("a lone surrogate")

    def _learnt(self, read: bytes, data: bytes) -> Iterator[Delta]:
        """The event's delta, of which the next read may be alike."""
        delta = self._delta(data)
        if delta is None:
            return
        if delta.text and delta == Delta(delta.text):
            self._alike.learn(read, data, delta.text)
        yield delta

    def _behind_the_end(self, data: bytes) -> Delta | None:
        """Nothing is said there any more; what failed, the reason and the usage may be told."""
        self.done = False
        delta = self._delta(data)
        self.done = True
        told = delta and delta._replace(text="", tool_calls=(), reasoning="")
        return told if told and any(told) else None

    def _delta(self, data: bytes) -> Delta | None:
        if self.done:
            return self._behind_the_end(data)
        try:
            chunk = chunk_of(data)
        except NO_JSON as error:
            loose = self._unusual(data, error)
            if loose is None:
                return None
            chunk, self._unsettled = loose, True
        if (chunk.error or chunk.x_groq) and (told := error_in(chunk.error, chunk.x_groq)):
            raise of_error(told)
        usage = chunk.usage and usage_of(chunk.usage)
        if not chunk.choices:
            if failure := failure_in(data):
                raise failure
            return Delta(usage=usage) if usage else None
        choice = chunk.choices[0]
        said = said_in(choice, whole=not self._begun)
        if choice.error:
            raise of_choice(choice.error)
        finish_reason = self._reason(choice.finish_reason) if choice.finish_reason else None
        text = said.content
        beside = (
            said.tool_calls
            or said.reasoning_content
            or said.reasoning
            or said.thinking
            or said.reasoning_details
            or said.function_call
            or said.error
        )
        if type(text) is str and text and not (beside or self._unsettled):
            self._begun = True
            return plain(Delta, (text, finish_reason, usage, (), ""))
        delta = self._all_of(said)._replace(finish_reason=finish_reason, usage=usage or None)
        return delta if any(delta) else None

    def _reason(self, said: str) -> str | None:
        reason = reason_in(said)
        if reason is not None:
            if failure := of_finish_reason(reason):
                raise failure
            self.finished = True
        return reason

    def _all_of(self, said: Said) -> Delta:
        """Text, reasoning and tool calls, of which one is the rule."""
        if said.error:
            raise of_choice(said.error)
        # A refusal is what the model said: its user must see it, as any other answer.
        content = said.refusal or "" if said.content in (None, "", []) else said.content
        text, thought = (
            text_and_thought(content) if isinstance(content, list) else (str(content), "")
        )
        aloud = said.reasoning_content or said.reasoning or said.thinking or said.reasoning_details
        reasoning = words_in(aloud) or thought
        calls = said.tool_calls or (said.function_call and [Call(function=said.function_call)])
        parts = [self._part(call) for call in calls or ()]
        if self._unsettled:
            text, reasoning = self._joined("text", text), self._joined("reasoning", reasoning)
            parts = [part._replace(arguments=self._joined(*part[::3])) for part in parts]
        if self._lost and (text or parts):
            raise UpstreamBadResponse("rubbish in the middle of the answer") from self._lost
        self._unsettled = bool(self._halves or self._lost)
        self._begun |= bool(text or parts)
        told = tuple(part for part in parts if any(part[1:]))
        return Delta(text, tool_calls=told, reasoning=reasoning)

    def _unusual(self, data: bytes, error: Exception) -> Chunk | None:
        """What is no chunk at first sight; None for what can be passed over."""
        text = data.strip()
        if not text:
            return None
        if text == _DONE:
            self.done = True
            return None
        if chunk := loose_chunk_of(data):
            return chunk
        if failure := failure_in(data):
            raise failure from error
        if not self.finished:
            raise UpstreamBadResponse("broken JSON, or a chunk of another shape") from error
        self._lost, self._unsettled = error, True
        return None

    def _joined(self, which: str | int, piece: str) -> str:
        """Whole characters: half of one, at the piece's end, waits for the next piece."""
        if not piece:
            return ""
        piece = self._halves.pop(which, "") + piece
        if "\ud800" <= piece[-1] <= "\udbff":
            self._halves[which], piece = piece[-1], piece[:-1]
        try:
            return piece.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError as error:
            raise UpstreamBadResponse("a lone surrogate") from error

    def _part(self, call: Call) -> ToolCallPart:
        """Its number is its index. But some servers have one for all calls, or none: a new id with
        a name is a new call, while others make a new id for every piece of one. A whole name that
        comes again is not another piece of it.
        """
        function, index, calls = call.function or Function(), call.index or 0, self._calls
        known, number = calls.setdefault(index, (call.id, index))
        if known and call.id and function.name and call.id != known:
            known, number = call.id, 1 + max(number for _, number in calls.values())
        calls[index] = known or call.id, number
        call_id = call.id if call.id == calls[index][0] else None
        name, named = function.name, self._names.get(number, "")
        if name == named:
            name = None
        self._names[number] = named + (name or "")
        return ToolCallPart(number, call_id, name, arguments_of(function))
