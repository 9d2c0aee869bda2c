"""Chat completions: a job's log as chunks. There is no way back, and no text can be taken back.

Reasoning goes as `reasoning_content`, as other servers send it and chat UIs show it; the official
clients leave it alone. The API has no word for a tool that the server runs, nor for data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from json.encoder import encode_basestring as quoted
from typing import Any

from sluice.application.compact_json import compact
from sluice.domain.chat import Job
from sluice.domain.events import (
    BEGINNING,
    Cancelled,
    Cursor,
    Done,
    Failed,
    NeedsInput,
    Reasoning,
    Recorded,
    Reset,
    Stage,
    Token,
    Usage,
)
from sluice.interfaces.protocols.frames import escaped
from sluice.interfaces.protocols.openai.frames import (
    STREAM_END,
    data_frame,
    end_body,
    error_body,
    model_name,
    stage_frame,
)
from sluice.interfaces.protocols.said import NOTHING, Said

_REVISED = error_body("The answer was rewritten while it was being sent.", 500, "revised")
_FINISHES = ("stop", "length", "content_filter")


@dataclass(frozen=True, slots=True)
class State:
    """`said` is what was sent. `matched`: how many characters of it were said again since a reset,
    None once it is all of them. `over`: an error was sent, and nothing follows.
    """

    opened: bool = False
    said: Said = NOTHING
    matched: int | None = None
    over: bool = False


@dataclass(frozen=True)
class CompletionEncoder:
    job_id: str
    created: int
    model: str
    usage: bool
    """The client wants the usage, in a chunk of its own."""

    initial = State()
    joins_tokens = True

    def encode(
        self, state: State, _before: Cursor, recorded: Recorded, /
    ) -> tuple[State, Sequence[bytes]]:
        event = recorded.event
        if state.opened and state.matched is None and not state.over and type(event) is Token:
            text = event.content
            return State(opened=True, said=state.said.add(text)), [self._text(text)]
        if state.over:
            return state, ()
        opening = [] if state.opened else [self._chunk({"role": "assistant", "content": ""})]
        state, frames = self._told(replace(state, opened=True), recorded)
        return state, [*opening, *frames]

    def _told(self, state: State, recorded: Recorded) -> tuple[State, Sequence[bytes]]:
        event = recorded.event
        if isinstance(event, Stage):
            return state, [stage_frame(event)]
        match event:
            case Token(content):
                return self._say(state, content)
            case Reasoning(content):
                return state, [self._chunk({"reasoning_content": content})]
            case Reset():
                said = Said(state.said.text) if state.said.text else NOTHING
                return replace(state, said=said, matched=0 if said.text else None), ()
            case Done() as done:
                return self._end(state, done)
            case Failed() | Cancelled() | NeedsInput() as end:
                return _over(state, end_body(end)[1])
        return state, ()

    def _say(self, state: State, text: str) -> tuple[State, Sequence[bytes]]:
        """What was sent before a reset is not sent again, as long as the new text says it too."""
        if state.matched is not None:
            sent, matched = state.said.text, state.matched
            again = text[: len(sent) - matched]
            if not sent.startswith(again, matched):
                return _over(state, _REVISED)
            matched, text = matched + len(again), text[len(again) :]
            state = replace(state, matched=None if matched == len(sent) else matched)
        if not text:
            return state, ()
        return replace(state, said=state.said.add(text)), [self._text(text)]

    def _end(self, state: State, done: Done) -> tuple[State, Sequence[bytes]]:
        sent = state.said.text
        if not done.answer.startswith(sent):
            return _over(state, _REVISED)
        rest = done.answer[len(sent) :]
        frames = [self._text(rest)] if rest else []
        frames.append(self._chunk({}, finish_of(done.finish_reason)))
        if self.usage:
            usage = done.usage and usage_of(done.usage)
            frames.append(data_frame({**self._head, "choices": [], "usage": usage}))
        frames.append(STREAM_END)
        return replace(state, said=Said(done.answer), matched=None, over=True), frames

    def whole(self, done: Done) -> Sequence[bytes]:
        """All frames of an answer that is there at once."""
        return self.encode(self.initial, BEGINNING, Recorded(BEGINNING, done))[1]

    def _text(self, text: str) -> bytes:
        before, after = self._around
        return escaped(f"{before}{quoted(text)}{after}").encode()

    def _chunk(self, delta: Mapping[str, str], finish: str | None = None) -> bytes:
        return data_frame(self._fields(delta, finish))

    def _fields(self, delta: Mapping[str, str], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._head, "choices": [choice]} | ({"usage": None} if self.usage else {})

    @cached_property
    def _head(self) -> dict[str, Any]:
        return {
            "id": completion_id(self.job_id),
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
        }

    @cached_property
    def _around(self) -> tuple[str, str]:
        """The frame of a piece of text, before and behind it: nearly every frame is one."""
        before, _, after = compact(self._fields({"content": "\0"})).partition('"\\u0000"')
        return f"data: {before}", f"{after}\n\n"


def completion_id(job_id: str) -> str:
    return f"chatcmpl-{job_id}"


def finish_of(reason: str | None) -> str:
    """Clients know no others that an answer in text can have."""
    return reason if reason in _FINISHES else "stop"


def usage_of(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }


def completion_encoder(job: Job, *, usage: bool) -> CompletionEncoder:
    created = int(job.created_at.timestamp())
    return CompletionEncoder(job.id, created, model_name(job.model), usage)


def _over(state: State, error: Mapping[str, Any]) -> tuple[State, Sequence[bytes]]:
    """Of an answer that was rewritten it is not told how far it came."""
    return replace(state, matched=None, over=True), [data_frame(error)]
