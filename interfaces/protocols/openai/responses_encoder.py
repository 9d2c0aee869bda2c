"""Responses: a job's log as numbered events, which a reader can resume behind any of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from json.encoder import encode_basestring as quoted
from typing import Any

from sluice.application.coalescing import coalesce
from sluice.application.compact_json import compact
from sluice.domain.chat import Job
from sluice.domain.events import (
    BEGINNING,
    Cancelled,
    Cursor,
    Done,
    Failed,
    Recorded,
    Reset,
    StageCompleted,
    StageFailed,
    StageStarted,
    Terminal,
    Token,
)
from sluice.interfaces.protocols.frames import escaped, tokens_in
from sluice.interfaces.protocols.openai.frames import stage_frame
from sluice.interfaces.protocols.openai.response_object import (
    Item,
    item_id,
    response_object,
    status_of_end,
    text_part,
)
from sluice.interfaces.protocols.said import NOTHING, Said

_ATTEMPT = 1 << 32
"""What a later attempt's numbers begin at: a number that a lost end of an earlier one had, as
after a crash, never names anything else."""

_ENDS = {"completed": "completed", "failed": "failed", "cancelled": "incomplete"}


@dataclass(frozen=True, slots=True)
class State:
    """`number` is the next event's; `items` is how many messages were opened, and `said` the text
    of the last one, which may still be `open`.
    """

    number: int = 0
    running: bool = False
    items: int = 0
    open: bool = False
    said: Said = NOTHING


@dataclass(frozen=True)
class ResponseEncoder:
    job: Job

    initial = State()
    joins_tokens = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResponseEncoder) and self.job.id == other.job.id

    def __hash__(self) -> int:
        return hash(self.job.id)

    def encode(
        self, state: State, before: Cursor, recorded: Recorded, /
    ) -> tuple[State, Sequence[bytes]]:
        begins = not state.number
        number = max(state.number, (recorded.id.attempt - 1) * _ATTEMPT)
        if number != state.number:
            state = replace(state, number=number)
        event = recorded.event
        if state.open and type(event) is Token:  # nearly every event is one
            state, frame = self.delta(state, event.content, tokens_in(before, recorded.id))
            return state, [frame]
        told = _Telling(self, state, [])
        if begins:
            told.event("created", response=response_object(self.job, "queued"))
        if isinstance(event, StageStarted | Token) and not state.running:
            told.event("in_progress", response=response_object(self.job, "in_progress"))
            told.state = replace(told.state, running=True)
        match event:
            case Token(content):
                told.say(content, tokens_in(before, recorded.id))
            case Reset():
                told.take_back()
            case StageStarted() | StageCompleted() | StageFailed() as stage:
                told.frames.append(stage_frame(stage))
            case Done() | Failed() | Cancelled() as end:
                told.end(end)
        return told.state, told.frames

    def delta(self, state: State, text: str, tokens: int) -> tuple[State, bytes]:
        """More of the open message. Several tokens have the last one's number."""
        number, index = state.number + tokens - 1, state.items - 1
        data = (
            f'{{"type":"response.output_text.delta","sequence_number":{number}'
            f',"item_id":"{item_id(self.job.id, index)}","output_index":{index}'
            f',"content_index":0,"delta":{quoted(text)},"logprobs":[]}}'
        )
        frame = f"event: response.output_text.delta\ndata: {escaped(data)}\n\n".encode()
        said = state.said.add(text)
        return State(number + 1, running=True, items=state.items, open=True, said=said), frame

    def item(self, state: State, status: str) -> dict[str, Any] | None:
        """The last message, as far as it was said."""
        if not state.said.text:
            return None
        return Item(self.job.id, state.items - 1).object(status, text_part(state.said.text))


class _Telling:
    """One event's frames in the making."""

    def __init__(self, encoder: ResponseEncoder, state: State, frames: list[bytes]) -> None:
        self._encoder, self.state, self.frames = encoder, state, frames

    def event(self, name: str, **fields: Any) -> None:
        kind = f"response.{name}"
        number = self.state.number
        data = compact({"type": kind, "sequence_number": number, **fields})
        self.frames.append(f"event: {kind}\ndata: {escaped(data)}\n\n".encode())
        self.state = replace(self.state, number=number + 1)

    def say(self, text: str, tokens: int) -> None:
        if not self.state.open:
            self._open()
        self.state, frame = self._encoder.delta(self.state, text, tokens)
        self.frames.append(frame)

    def _open(self) -> None:
        self.state = replace(self.state, items=self.state.items + 1, open=True, said=NOTHING)
        item = self._item.object("in_progress")
        self.event("output_item.added", output_index=self._item.index, item=item)
        self.event("content_part.added", **self._place, part=text_part(""))

    def take_back(self) -> None:
        """The message is told as incomplete, and is in no response."""
        if self.state.open:
            self.close("incomplete")
        self.state = replace(self.state, said=NOTHING)

    def close(self, status: str) -> None:
        text = self.state.said.text
        item = self._item.object(status, text_part(text))
        self.event("output_text.done", **self._place, text=text, logprobs=[])
        self.event("content_part.done", **self._place, part=text_part(text))
        self.event("output_item.done", output_index=self._item.index, item=item)
        self.state = replace(self.state, open=False)

    def end(self, end: Terminal) -> None:
        if isinstance(end, Done):
            said = self.state.said.text if self.state.open else ""
            if not end.answer.startswith(said):
                self.take_back()
                said = ""
            if rest := end.answer[len(said) :]:
                self.say(rest, 1)
        status = status_of_end(end)
        of_item = "completed" if isinstance(end, Done) else "incomplete"
        output = self._encoder.item(self.state, of_item)
        if self.state.open:
            self.close(of_item)
        response = response_object(self._encoder.job, status, output, end)
        self.event(_ENDS[status], response=response)

    @property
    def _item(self) -> Item:
        return Item(self._encoder.job.id, self.state.items - 1)

    @property
    def _place(self) -> dict[str, Any]:
        item = self._item
        return {"item_id": item.id, "output_index": item.index, "content_index": 0}


def fold(encoder: ResponseEncoder, log: Sequence[Recorded]) -> State:
    state, before = encoder.initial, BEGINNING
    for recorded in coalesce(log):
        state, _ = encoder.encode(state, before, recorded)
        before = recorded.id
    return state


def place_behind(
    encoder: ResponseEncoder, log: Sequence[Recorded], number: int
) -> tuple[Cursor, int] | None:
    """Where the log goes on behind that event, and how many frames to leave out there.

    None if it has not told so many.
    """
    state, before = encoder.initial, BEGINNING
    for recorded in coalesce(log):
        first = max(state.number, (recorded.id.attempt - 1) * _ATTEMPT)
        state, _ = encoder.encode(state, before, recorded)
        missing = state.number - 1 - number
        if missing == 0:
            return recorded.id, 0
        if missing > 0:
            (attempt, seq), event = recorded
            if isinstance(event, Token) and missing < tokens_in(before, recorded.id):
                return Cursor(attempt, seq - missing), 0
            return before, max(number - first + 1, 0)
        before = recorded.id
    return None


def encoder_for(job: Job) -> ResponseEncoder:
    return ResponseEncoder(job)
