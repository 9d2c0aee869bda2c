"""A job's log as events of a thread: LangGraph's Agent Streaming Protocol (version 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from json.encoder import encode_basestring as quoted
from typing import Any

from sluice.application.compact_json import compact
from sluice.domain.chat import JobId
from sluice.domain.events import (
    Cancelled,
    Cursor,
    Done,
    Event,
    Failed,
    Recorded,
    Reset,
    Stage,
    Terminal,
    Token,
)
from sluice.interfaces.protocols.frames import escaped, frame_ids, tokens_in
from sluice.interfaces.protocols.langgraph.encoder import stage_of
from sluice.interfaces.protocols.langgraph.messages import answer_id, answer_of

Told = tuple[str, str]
"""A channel, which is the method of its events, and the data of one as JSON."""

_PER_MILLISECOND = 2048
"""Numbers that a job's events may have for each millisecond between it and the chat's next."""


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """What was said of a message so far: its last piece, and all before it."""

    before: "Draft | None"
    piece: str

    @property
    def text(self) -> str:
        pieces = list[str]()
        draft: Draft | None = self
        while draft is not None:
            pieces.append(draft.piece)
            draft = draft.before
        return "".join(reversed(pieces))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Draft) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


@dataclass(frozen=True, slots=True)
class State:
    """`told`: how many events of all channels there were. `draft`: the open message's text."""

    started: bool = False
    resets: int = 0
    told: int = 0
    draft: Draft | None = None


@dataclass(frozen=True)
class EventEncoder:
    """`asked` as RunEncoder has it, `created` in milliseconds since the epoch.

    An event's id and number are the same whichever `channels` a reader has. The log knows no
    other time than the job's, so that is every event's. Tokens are never joined: an id that a
    client has seen must have meant the same text.
    """

    job_id: JobId
    asked: str
    created: int
    channels: frozenset[str]
    joins_tokens = False
    initial = State()

    def encode(
        self, state: State, before: Cursor, recorded: Recorded, /
    ) -> tuple[State, Sequence[bytes]]:
        event = recorded.event
        opening = () if state.started else self._opening()
        events = [*opening, *self._told(state, event)]
        counted = len(events)
        if isinstance(event, Token):
            counted += tokens_in(before, recorded.id) - 1
        ids = frame_ids(before, recorded.id, len(events))
        numbered = [
            (f"{self.job_id}:{each}", state.told + number, *told)
            for number, (each, told) in enumerate(zip(ids, events, strict=True), 1)
        ]
        sent = [each for each in numbered if each[2] in self.channels]
        frames = [
            self._frame(frame_id, *each)
            for frame_id, each in zip(frame_ids(before, recorded.id, len(sent)), sent, strict=True)
        ]
        return _after(state, event, counted), frames

    def _frame(self, frame_id: str, event_id: str, number: int, method: str, data: str) -> bytes:
        if method == "lifecycle":
            event_id = f"synth:{event_id}"
        seq = self.created * _PER_MILLISECOND + number
        return (
            f"event: {method}\nid: {frame_id}\n"
            f'data: {{"type":"event","event_id":{quoted(event_id)},"seq":{seq},'
            f'"method":{quoted(method)},"params":{{"namespace":[],"timestamp":{self.created},'
            f'"data":{escaped(data)}}}}}\n\n'
        ).encode()

    def _opening(self) -> Sequence[Told]:
        return [_lifecycle("running", graph_name="sluice"), self._values()]

    def _told(self, state: State, event: Event) -> Sequence[Told]:
        if isinstance(event, Token):
            start = self._start(state.resets) if state.draft is None else ()
            return [*start, _delta(event.content)]
        if isinstance(event, Stage):
            return [("custom", compact({"name": "stage", "payload": stage_of(event)}))]
        finish, partial = self._finish(state)
        match event:
            case Reset():
                # Only what was in `values` is taken back by `values`.
                taken_back = [self._values(partial)] if partial else []
                return [*finish, *taken_back, self._values()]
            case Done(answer=answer):
                said = answer_of(self.job_id, answer, state.resets) if answer else None
                return [*finish, self._values(said), _lifecycle("completed")]
            case Failed(message=message):
                return [*finish, self._values(partial), _lifecycle("failed", error=message)]
            case Cancelled():
                return [*finish, self._values(partial), _lifecycle("interrupted")]
        return []

    def _start(self, resets: int) -> Sequence[Told]:
        start = {"event": "message-start", "role": "ai", "id": answer_id(self.job_id, resets)}
        block = {"event": "content-block-start", "index": 0, "content": _text("")}
        return [("messages", compact(start)), ("messages", compact(block))]

    def _finish(self, state: State) -> tuple[Sequence[Told], Mapping[str, Any] | None]:
        """What closes the open message, and the message itself."""
        if state.draft is None:
            return (), None
        text = state.draft.text
        block = {"event": "content-block-finish", "index": 0, "content": _text(text)}
        finish = [("messages", compact(block)), ("messages", '{"event":"message-finish"}')]
        return finish, answer_of(self.job_id, text, state.resets)

    def _values(self, answer: Mapping[str, Any] | None = None) -> Told:
        said = f",{compact(answer)}" if answer else ""
        return "values", f'{{"messages":[{self.asked}{said}]}}'


def _after(state: State, event: Event, counted: int) -> State:
    state = replace(state, started=True, told=state.told + counted)
    match event:
        case Token(content):
            return replace(state, draft=Draft(state.draft, content))
        case Reset():
            return replace(state, draft=None, resets=state.resets + 1)
    return replace(state, draft=None) if isinstance(event, Terminal) else state


def _delta(text: str) -> Told:
    data = '{"event":"content-block-delta","index":0,"delta":{"type":"text-delta","text":'
    return "messages", f"{data}{quoted(text)}}}}}"


def _lifecycle(event: str, **fields: str) -> Told:
    return "lifecycle", compact({"event": event, **fields})


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
