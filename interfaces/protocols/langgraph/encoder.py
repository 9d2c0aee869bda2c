"""A job's log as the event stream of a LangGraph run (version 1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring as quoted

from sluice.application.compact_json import compact
from sluice.domain.chat import JobId
from sluice.domain.events import (
    Cancelled,
    Cursor,
    Done,
    Event,
    Failed,
    NeedsInput,
    Reasoning,
    Recorded,
    Reset,
    Token,
    Tool,
)
from sluice.interfaces.protocols.frames import escaped, frame_ids
from sluice.interfaces.protocols.langgraph.messages import (
    NOTHING_TOLD,
    Custom,
    Draft,
    Form,
    answer_id,
    answer_of,
    call_chunks,
    custom_of,
    thought_of,
    values_of,
)

Frame = tuple[str, str]
"""An event's name, and its data as JSON."""

END: Frame = ("end", "null")


@dataclass(frozen=True, slots=True)
class State:
    """`resets`: how often the text was taken back, which gives it another message's id."""

    started: bool = False
    resets: int = 0
    draft: Draft = NOTHING_TOLD


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
        if type(event) is Token and state.draft.said and not state.draft.beside.thinking:
            # first: nearly every event is one
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
        frames = [] if state.started else [*self._opening()]
        draft = state.draft.behind(event)
        resets = state.resets + isinstance(event, Reset)
        frames += self._told(event, state.draft, draft, resets)
        return State(started=True, resets=resets, draft=draft), frames

    def _opening(self) -> Sequence[Frame]:
        """What leaves at once, before the job runs."""
        metadata = f'{{"run_id":{quoted(self.job_id)},"attempt":1}}'
        return [("metadata", metadata), *self._values(())]

    def _told(self, event: Event, before: Draft, draft: Draft, resets: int) -> Sequence[Frame]:
        """`before` and `draft`: what was told before the event, and with it."""
        if isinstance(event, Custom):
            return [("custom", compact(custom_of(event)))] if "custom" in self.modes else []
        match event:
            case Token():
                return self._message(self._chunk(event, resets))
            case Tool():
                return [
                    frame
                    for form in call_chunks(self.job_id, before.beside, event)
                    for frame in self._message(_with_node(form, event.node))
                ]
            case Reasoning(content, node):
                _, _, thought = before.beside.think(event)
                chunk = thought_of(self.job_id, thought, content) | {"type": "AIMessageChunk"}
                return self._message(_with_node(chunk, node))
            case Reset():
                return self._values(draft.forms(self.job_id))
            case Done(answer=answer):
                said = answer_of(self.job_id, answer, resets) if answer else None
                return [*self._values(draft.forms(self.job_id, said)), END]
            case Failed(code, message):
                return [("error", compact({"error": code, "message": message}))]
            case Cancelled():
                return [END]
            case NeedsInput():
                return []

    def _message(self, data: str) -> Sequence[Frame]:
        return [("messages", data)] if "messages" in self.modes else []

    def _values(self, told: Sequence[Form]) -> Sequence[Frame]:
        if "values" not in self.modes:
            return ()
        return (("values", values_of(self.asked, told)),)

    def _chunk(self, token: Token, resets: int) -> str:
        """Clients append it to what they have of the message of that id."""
        return (
            f'[{{"type":"AIMessageChunk","id":{quoted(answer_id(self.job_id, resets))},'
            f'"content":{quoted(token.content)}}},{{"langgraph_node":{quoted(token.node)}}}]'
        )


def _with_node(form: Form, node: str) -> str:
    return compact([form, {"langgraph_node": node}])
