"""Responses: a job's log as numbered events, which a reader can resume behind any of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from json.encoder import encode_basestring as quoted
from typing import Any

from sluice.application.compact_json import compact
from sluice.domain.chat import Job
from sluice.domain.events import (
    Cancelled,
    Cursor,
    Done,
    Event,
    Failed,
    Reasoning,
    Recorded,
    Reset,
    Stage,
    StageStarted,
    Terminal,
    Token,
    Tool,
)
from sluice.interfaces.protocols.beside import NOTHING_BESIDE, Beside, Thought
from sluice.interfaces.protocols.frames import escaped, tokens_in
from sluice.interfaces.protocols.openai.frames import STREAM_END, stage_frame
from sluice.interfaces.protocols.openai.response_object import (
    Item,
    ReasoningItem,
    item_id,
    place_of,
    reasoning_part,
    response_object,
    status_of_end,
    text_part,
)
from sluice.interfaces.protocols.said import NOTHING, Said

ATTEMPT = 1 << 32
"""What a later attempt's numbers begin at: a number that a lost end of an earlier one had, as
after a crash, never names anything else."""

_ENDS = {"cancelled": "incomplete"}  # elsewhere an event has its status's name


@dataclass(frozen=True, slots=True)
class State:
    """`number` is the next event's. Of `items` of all kinds so many were opened, of messages
    `drafts`: `index` is the last one's place, and `said` its text; it may still be `open`.

    `places` are those of the thoughts, by their numbers.
    """

    number: int = 0
    running: bool = False
    items: int = 0
    drafts: int = 0
    index: int = 0
    open: bool = False
    said: Said = NOTHING
    beside: Beside = NOTHING_BESIDE
    places: tuple[int, ...] = ()

    def said_more(self, number: int, text: str) -> "State":
        """Without `replace`, which takes longer than all else: this runs once per token."""
        said, last = self.said.add(text), (self.beside, self.places)
        return State(number, self.running, self.items, self.drafts, self.index, True, said, *last)


@dataclass(frozen=True)
class ResponseEncoder:
    job: Job
    conversation: str | None = None

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
        if (first := (recorded.id.attempt - 1) * ATTEMPT) > state.number:
            state = replace(state, number=first)
        event = recorded.event
        if state.open and type(event) is Token and not state.beside.thinking:
            # nearly every event is one
            state, frame = self.delta(state, event.content, tokens_in(before, recorded.id))
            return state, [frame]
        told = _Telling(self, state, [])
        if begins:
            told.event("created", response=self.response("queued"))
        if isinstance(event, StageStarted | Token | Reasoning) and not state.running:
            told.event("in_progress", response=self.response("in_progress"))
            told.state = replace(told.state, running=True)
        told.tell(event, tokens_in(before, recorded.id))
        return told.state, told.frames

    def delta(self, state: State, text: str, tokens: int) -> tuple[State, bytes]:
        """More of the open message. Several tokens have the last one's number."""
        number, index = state.number + tokens - 1, state.index
        data = (
            f'{{"type":"response.output_text.delta","sequence_number":{number}'
            f',"item_id":"{item_id(self.job.id, state.drafts - 1)}","output_index":{index}'
            f',"content_index":0,"delta":{quoted(text)},"logprobs":[]}}'
        )
        frame = f"event: response.output_text.delta\ndata: {escaped(data)}\n\n".encode()
        return state.said_more(number + 1, text), frame

    def response(
        self, status: str, output: Sequence[Mapping[str, Any]] = (), end: Terminal | None = None
    ) -> dict[str, Any]:
        return response_object(self.job, self.conversation, status, output, end)

    def output(self, state: State, status: str) -> list[dict[str, Any]]:
        """What was thought, and the last message as far as it was said."""
        items = [
            ReasoningItem(self.job.id, one.number).object(
                status if one.open else "completed", reasoning_part(one.said.text)
            )
            for one in state.beside.items
            if isinstance(one, Thought)
        ]
        if state.said:
            said = text_part(state.said.text)
            items.append(Item(self.job.id, state.drafts - 1).object(status, said))
        return items


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

    def tell(self, event: Event, tokens: int) -> None:
        """`tokens`: how many of the log it stands for."""
        if isinstance(event, Stage):
            self.frames.append(stage_frame(event))
        match event:
            case Token(content, node):
                self.conclude(node)
                self.say(content, tokens)
            case Reasoning():
                self.think(event, tokens)
            case Tool(node=node):
                self.conclude(node)
            case Reset(reason):
                self.take_back()
                if reason != "revised":
                    self.conclude()
                    self.state = replace(self.state, beside=self.state.beside.drop())
            case Done() | Failed() | Cancelled() as end:
                self.end(end)

    def say(self, text: str, tokens: int) -> None:
        if not self.state.open:
            self._open()
        self.state, frame = self._encoder.delta(self.state, text, tokens)
        self.frames.append(frame)

    def _open(self) -> None:
        index, drafts = self.state.items, self.state.drafts + 1
        state = replace(self.state, items=index + 1, drafts=drafts, index=index)
        self.state = replace(state, open=True, said=NOTHING)
        self._begin(self._item, self.state.index, text_part(""))

    def take_back(self) -> None:
        """The message is told as incomplete, and is in no response."""
        if self.state.open:
            self.close("incomplete")
        self.state = replace(self.state, said=NOTHING)

    def close(self, status: str) -> None:
        text = self.state.said.text
        self.event(
            "output_text.done",
            **place_of(self._item.id, self.state.index),
            text=text,
            logprobs=[],
        )
        self._finish(self._item, self.state.index, text_part(text), status)
        self.state = replace(self.state, open=False)

    def think(self, piece: Reasoning, tokens: int) -> None:
        beside, begins, thought = self.state.beside.think(piece)
        self.state = replace(self.state, beside=beside)
        item, index = ReasoningItem(self._encoder.job.id, thought.number), self.state.items
        if begins:
            self.state = replace(self.state, items=index + 1, places=(*self.state.places, index))
            self._begin(item, index, reasoning_part(""))
        # Several pieces have the last one's number, as several tokens have.
        self.state = replace(self.state, number=self.state.number + tokens - 1)
        place = place_of(item.id, self.state.places[thought.number - 1])
        self.event("reasoning_text.delta", **place, delta=piece.content)

    def conclude(self, node: str | None = None) -> None:
        """End the node's thoughts, or all."""
        beside, ended = self.state.beside.conclude(node)
        for thought in ended:
            item, text = ReasoningItem(self._encoder.job.id, thought.number), thought.said.text
            index = self.state.places[thought.number - 1]
            self.event("reasoning_text.done", **place_of(item.id, index), text=text)
            self._finish(item, index, reasoning_part(text), "completed")
        if ended:
            self.state = replace(self.state, beside=beside)

    def _begin(self, item: Item | ReasoningItem, index: int, part: Mapping[str, Any]) -> None:
        self.event("output_item.added", output_index=index, item=item.object("in_progress"))
        self.event("content_part.added", **place_of(item.id, index), part=part)

    def _finish(
        self, item: Item | ReasoningItem, index: int, part: Mapping[str, Any], status: str
    ) -> None:
        self.event("content_part.done", **place_of(item.id, index), part=part)
        self.event("output_item.done", output_index=index, item=item.object(status, part))

    def end(self, end: Terminal) -> None:
        if isinstance(end, Done):
            said = self.state.said.text if self.state.open else ""
            if not end.answer.startswith(said):
                self.take_back()
                said = ""
            if rest := end.answer[len(said) :]:
                self.say(rest, 1)
        self.conclude()
        status = status_of_end(end)
        of_item = "completed" if status == "completed" else "incomplete"
        output = self._encoder.output(self.state, of_item)
        if self.state.open:
            self.close(of_item)
        self.event(_ENDS.get(status, status), response=self._encoder.response(status, output, end))
        self.frames.append(STREAM_END)

    @property
    def _item(self) -> Item:
        return Item(self._encoder.job.id, self.state.drafts - 1)
