"""A job's log as the event stream of a LangGraph run (version 1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from json.encoder import encode_basestring as quoted
from typing import Any

from sluice.application.codec import FORMS, fields_of
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
    Token,
)
from sluice.interfaces.protocols.frames import escaped, frame_ids
from sluice.interfaces.protocols.langgraph.messages import answer_id, answer_of

Frame = tuple[str, str]
"""An event's name, and its data as JSON."""

END: Frame = ("end", "null")


@dataclass(frozen=True, slots=True)
class State:
    """`resets`: how often the text was taken back, which gives it another message's id."""

    started: bool = False
    resets: int = 0


@dataclass(frozen=True)
class RunEncoder:
    """`asked`: the chat's messages up to the question, each as JSON, joined by commas.

    `modes` are what the client asked for: `values`, `messages`, `custom`; it gets nothing else.
    """

    job_id: JobId
    asked: str
    modes: frozenset[str]
    joins_tokens = True
    initial = State()

    def encode(
        self, state: State, before: Cursor, recorded: Recorded, /
    ) -> tuple[State, Sequence[bytes]]:
        event = recorded.event
        if type(event) is Token and state.started:  # first: nearly every event is one
            if "messages" not in self.modes:
                return state, ()
            data = escaped(self._chunk(event, state.resets))
            attempt, seq = recorded.id
            return state, (f"event: messages\nid: {attempt}-{seq}\ndata: {data}\n\n".encode(),)
        state, frames = self._frames(state, event)
        ids = frame_ids(before, recorded.id, len(frames))
        return state, [
            f"event: {name}\nid: {frame_id}\ndata: {escaped(data)}\n\n".encode()
            for frame_id, (name, data) in zip(ids, frames, strict=True)
        ]

    def _frames(self, state: State, event: Event) -> tuple[State, Sequence[Frame]]:
        opening: Sequence[Frame] = () if state.started else self._opening()
        if isinstance(event, Reset):
            return State(started=True, resets=state.resets + 1), [*opening, *self._values()]
        return replace(state, started=True), [*opening, *self._told(event, state.resets)]

    def _opening(self) -> Sequence[Frame]:
        """What leaves at once, before the job runs."""
        metadata = f'{{"run_id":{quoted(self.job_id)},"attempt":1}}'
        return [("metadata", metadata), *self._values()]

    def _told(self, event: Event, resets: int) -> Sequence[Frame]:
        if isinstance(event, Stage):
            return [("custom", compact(stage_of(event)))] if "custom" in self.modes else []
        match event:
            case Token() if "messages" in self.modes:
                return [("messages", self._chunk(event, resets))]
            case Done(answer=answer):
                said = answer_of(self.job_id, answer, resets) if answer else None
                return [*self._values(said), END]
            case Failed(code, message):
                return [("error", compact({"error": code, "message": message}))]
            case Cancelled():
                return [END]
        return []

    def _values(self, answer: Mapping[str, Any] | None = None) -> Sequence[Frame]:
        if "values" not in self.modes:
            return ()
        said = f",{compact(answer)}" if answer else ""
        return (("values", f'{{"messages":[{self.asked}{said}]}}'),)

    def _chunk(self, token: Token, resets: int) -> str:
        """Clients append it to what they have of the message of that id."""
        return (
            f'[{{"type":"AIMessageChunk","id":{quoted(answer_id(self.job_id, resets))},'
            f'"content":{quoted(token.content)}}},{{"langgraph_node":{quoted(token.node)}}}]'
        )


def stage_of(event: Stage) -> dict[str, Any]:
    """What a `custom` event tells: the native event's fields, by its name."""
    return {"type": FORMS[type(event)].name, **fields_of(event)}
