"""A job's log as the event stream of a LangGraph run (version 1)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from sluice.interfaces.protocols.pauses import goes_on
from sluice.interfaces.protocols.said import NOTHING, Said

Frame = tuple[str, str]
"""An event's name, and its data as JSON."""

END: Frame = ("end", "null")


@dataclass(frozen=True, slots=True)
class State:
    """`resets`: how often the text was taken back, which gives it another message's id.

    `asked`: what the job waits for; `part`: how many such pauses are over. `said` is the text.
    """

    started: bool = False
    resets: int = 0
    draft: Draft = NOTHING_TOLD
    part: int = 0
    asked: tuple[NeedsInput, ...] = ()
    said: Said = NOTHING


@dataclass(frozen=True)
class RunEncoder:
    """`asked`: the chat's messages up to the question, each as JSON, joined by commas.

    `modes` are what the client asked for: `values`, `messages`, `custom`; it gets nothing else.
    A job that waits for a human is several runs, one behind another: this one's is the `part`
    behind so many pauses.
    """

    job_id: JobId
    asked: str
    modes: frozenset[str]
    part: int = 0
    joins_tokens = True
    initial = State()

    def encode(
        self, state: State, before: Cursor, recorded: Recorded, /
    ) -> tuple[State, Sequence[bytes]]:
        event = recorded.event
        if type(event) is Token and state.said and not (state.asked or state.draft.beside.thinking):
            # first: nearly every event is one
            said, (attempt, seq) = state.said.add(event.content), recorded.id
            after = State(True, state.resets, state.draft, state.part, (), said)
            if "messages" not in self.modes or state.part != self.part:
                return after, ()
            data = escaped(self._chunk(event.content, event.node, state.resets))
            return after, (f"event: messages\nid: {attempt}-{seq}\ndata: {data}\n\n".encode(),)
        state, frames = self._frames(state, event)
        ids = frame_ids(before, recorded.id, len(frames))
        return state, [_frame(*each) for each in zip(ids, frames, strict=True)]

    def closing(self, state: State, last: Cursor, /) -> Sequence[bytes]:
        """Nothing if this is not the run that has asked."""
        frames = self._interrupted(state) if state.part == self.part else ()
        return [_frame(f"{last}.{number}", each) for number, each in enumerate(frames, 1)]

    def _frames(self, state: State, event: Event) -> tuple[State, Sequence[Frame]]:
        frames = [] if state.started or self.part else [*self._opening()]
        if goes_on(state.asked, event):
            frames += self._interrupted(state) if state.part == self.part else ()
            state = replace(state, part=state.part + 1, asked=())
            frames += self._again(state) if state.part == self.part else ()
        draft = state.draft.behind(event)
        resets = state.resets + isinstance(event, Reset)
        if state.part == self.part:
            frames += self._told(event, state.draft, draft, resets)
        state = replace(state, started=True, resets=resets, draft=draft)
        match event:
            case Token(content):
                return replace(state, said=state.said.add(content)), frames
            case Reset():
                return replace(state, said=NOTHING), frames
            case NeedsInput():
                return replace(state, asked=(*state.asked, event)), frames
        return state, frames

    def _opening(self) -> Sequence[Frame]:
        """What leaves at once, before the job runs."""
        return [self._metadata, *self._values(())]

    def _again(self, state: State) -> Sequence[Frame]:
        """A run's beginning behind a pause: its message has the text that it had."""
        text = state.said.text
        chunk = self._message(self._chunk(text, "", state.resets)) if text else ()
        return [self._metadata, *chunk]

    def _interrupted(self, state: State) -> Sequence[Frame]:
        text = state.said.text
        answer = answer_of(self.job_id, text, state.resets) if text else None
        interrupts = [{"id": one.input_id, "value": one.prompt} for one in state.asked]
        told = state.draft.forms(self.job_id, answer)
        values = f'{values_of(self.asked, told)[:-1]},"__interrupt__":{compact(interrupts)}}}'
        return [*([("values", values)] if "values" in self.modes else ()), END]

    @property
    def _metadata(self) -> Frame:
        run = run_id(self.job_id, self.part)
        return ("metadata", f'{{"run_id":{quoted(run)},"attempt":1}}')

    def _told(self, event: Event, before: Draft, draft: Draft, resets: int) -> Sequence[Frame]:
        """`before` and `draft`: what was told before the event, and with it."""
        if isinstance(event, Custom):
            return [("custom", compact(custom_of(event)))] if "custom" in self.modes else []
        match event:
            case Token():
                return self._message(self._chunk(event.content, event.node, resets))
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

    def _chunk(self, text: str, node: str, resets: int) -> str:
        """Clients append it to what they have of the message of that id."""
        return (
            f'[{{"type":"AIMessageChunk","id":{quoted(answer_id(self.job_id, resets))},'
            f'"content":{quoted(text)}}},{{"langgraph_node":{quoted(node)}}}]'
        )


def run_id(job_id: JobId, part: int) -> str:
    """The first run has the job's id."""
    return f"{job_id}.{part + 1}" if part else job_id


def _frame(own: str, frame: Frame) -> bytes:
    name, data = frame
    return f"event: {name}\nid: {own}\ndata: {escaped(data)}\n\n".encode()


def _with_node(form: Form, node: str) -> str:
    return compact([form, {"langgraph_node": node}])
