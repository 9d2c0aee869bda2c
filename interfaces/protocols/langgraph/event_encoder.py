"""A job's log as events of a thread: LangGraph's Agent Streaming Protocol (version 2)."""

from collections.abc import Sequence
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
    NeedsInput,
    Reasoning,
    Recorded,
    Reset,
    Terminal,
    Token,
    Tool,
)
from sluice.interfaces.protocols.beside import FAILED, Beside, call_id, thought_id
from sluice.interfaces.protocols.frames import escaped, frame_ids, tokens_in
from sluice.interfaces.protocols.langgraph.channels import (
    INTERRUPTED,
    Told,
    channel,
    delta,
    finish_of,
    lifecycle,
    start_of,
)
from sluice.interfaces.protocols.langgraph.messages import (
    NOTHING_TOLD,
    Custom,
    Draft,
    Form,
    answer_id,
    answer_of,
    named_of,
    values_of,
)
from sluice.interfaces.protocols.pauses import goes_on
from sluice.interfaces.protocols.said import NOTHING, Said

_PER_MILLISECOND = 2048
"""Numbers that a job's events may have for each millisecond between it and the chat's next."""


@dataclass(frozen=True, slots=True)
class State:
    """`told`: how many events of all channels there were. `said`: the open message's text.

    `asked`: what the job waits for.
    """

    started: bool = False
    resets: int = 0
    told: int = 0
    said: Said = NOTHING
    draft: Draft = NOTHING_TOLD
    asked: tuple[NeedsInput, ...] = ()


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
        if type(event) is Token and state.said and not (state.asked or state.draft.beside.thinking):
            # first, and all at once: nearly every event is one
            return self._more(state, event.content, recorded.id, tokens_in(before, recorded.id))
        draft = state.draft.behind(event)
        opening = () if state.started else self._opening()
        if goes_on(state.asked, event):
            opening = [INTERRUPTED, *self._again(state)]
            state = replace(state, asked=())
        events = [*opening, *self._told(state, event, draft)]
        counted = len(events)
        if isinstance(event, Token | Reasoning):
            counted += tokens_in(before, recorded.id) - 1
        ids = frame_ids(before, recorded.id, len(events))
        numbered = [
            (f"{self.job_id}:{each}", state.told + number, told)
            for number, (each, told) in enumerate(zip(ids, events, strict=True), 1)
        ]
        sent = [each for each in numbered if channel(each[2].method) in self.channels]
        frames = [
            self._frame(frame_id, *each)
            for frame_id, each in zip(frame_ids(before, recorded.id, len(sent)), sent, strict=True)
        ]
        return _after(state, event, counted, draft), frames

    def _more(
        self, state: State, text: str, own: Cursor, tokens: int
    ) -> tuple[State, Sequence[bytes]]:
        said, told = state.said.add(text), state.told + tokens
        after = State(started=True, resets=state.resets, told=told, said=said, draft=state.draft)
        if "messages" not in self.channels:
            return after, ()
        frame_id = f"{own[0]}-{own[1]}"
        event_id = f"{self.job_id}:{frame_id}"
        return after, [self._frame(frame_id, event_id, state.told + 1, delta("text", text))]

    def _frame(self, frame_id: str, event_id: str, number: int, told: Told) -> bytes:
        method, data, node = told
        if method == "lifecycle":
            event_id = f"synth:{event_id}"
        at = "" if node is None else f'"node":{escaped(quoted(node))},'
        seq = self.created * _PER_MILLISECOND + number
        return (
            f"event: {method}\nid: {frame_id}\n"
            f'data: {{"type":"event","event_id":{quoted(event_id)},"seq":{seq},'
            f'"method":{quoted(method)},"params":{{"namespace":[],"timestamp":{self.created},{at}'
            f'"data":{escaped(data)}}}}}\n\n'
        ).encode()

    def _opening(self) -> Sequence[Told]:
        return [lifecycle("running", graph_name="sluice"), self._values()]

    def _told(self, state: State, event: Event, draft: Draft) -> Sequence[Told]:
        """`draft`: what was told beside the text, with this event."""
        beside = state.draft.beside
        if isinstance(event, Custom):
            return [Told("custom", compact(named_of(event)))]
        match event:
            case Token(content, node):
                start = () if state.said else self._start(state.resets)
                return [*self._concluded(beside, node), *start, delta("text", content)]
            case Reasoning(content, node):
                _, begins, thought = beside.think(event)
                start = start_of(thought_id(self.job_id, thought), "reasoning") if begins else ()
                return [one._replace(node=node) for one in (*start, delta("reasoning", content))]
            case Tool(node=node):
                return [*self._concluded(beside, node), *self._call(beside, event)]
            case Reset():
                return self._taken_back(state, draft)
            case Done() | Failed() | Cancelled():
                return self._end(state, event, draft)
            case NeedsInput(input_id, prompt):
                finish, partial = self._finish(state)
                values = self._values(draft.forms(self.job_id, partial))
                asked = {"interrupt_id": input_id, "payload": prompt}
                requested = Told("input.requested", compact(asked))
                return [requested] if state.asked else [*finish, values, requested]

    def _end(self, state: State, end: Terminal, draft: Draft) -> Sequence[Told]:
        finish, partial = self._finish(state)
        match end:
            case Done(answer=answer):
                partial = answer_of(self.job_id, answer, state.resets) if answer else None
                over = lifecycle("completed")
            case Failed(message=message):
                over = lifecycle("failed", error=message)
            case Cancelled():
                over = lifecycle("interrupted")
        return [*finish, self._values(draft.forms(self.job_id, partial)), over]

    def _taken_back(self, state: State, draft: Draft) -> Sequence[Told]:
        """Only what was in `values` is taken back by `values`."""
        finish, partial = self._finish(state)
        before = state.draft.forms(self.job_id, partial)
        return [
            *finish,
            *([self._values(before)] if before else ()),
            self._values(draft.forms(self.job_id)),
        ]

    def closing(self, state: State, last: Cursor, /) -> Sequence[bytes]:
        """What is told once all questions are: it comes again behind the pause, by the same ids."""
        own = f"{last}.1"
        if "lifecycle" not in self.channels:
            return ()
        return [self._frame(own, f"{self.job_id}:{own}", state.told + 1, INTERRUPTED)]

    def _again(self, state: State) -> Sequence[Told]:
        """The run goes on, and so does its message: with the text that it had."""
        text = state.said.text
        start = [*self._start(state.resets), delta("text", text)] if text else ()
        return [lifecycle("running", graph_name="sluice"), *start]

    def _call(self, beside: Beside, tool: Tool) -> Sequence[Told]:
        """A call is told when its arguments are known, or at its end: it is told with them."""
        _, before, call = beside.step(tool)
        told = {"tool_call_id": call_id(self.job_id, call)}
        events = list[dict[str, Any]]()
        if call.status != "started" and (before is None or before.status == "started"):
            events.append(
                {"event": "tool-started", **told, "tool_name": call.name, "input": call.input}
            )
        if call.status == "completed":
            events.append({"event": "tool-finished", **told, "output": call.result})
        if call.status == "failed":
            events.append({"event": "tool-error", **told, "message": FAILED})
        return [Told("tools", compact(one), tool.node) for one in events]

    def _concluded(self, beside: Beside, node: str | None) -> Sequence[Told]:
        """What closes the node's thoughts, or all."""
        _, ended = beside.conclude(node)
        return [
            one._replace(node=thought.node)
            for thought in ended
            for one in finish_of({"type": "reasoning", "reasoning": thought.said.text})
        ]

    def _start(self, resets: int) -> Sequence[Told]:
        return start_of(answer_id(self.job_id, resets), "text")

    def _finish(self, state: State) -> tuple[Sequence[Told], Form | None]:
        """What closes all that is open, and the answer's message."""
        concluded = self._concluded(state.draft.beside, None)
        if not state.said:
            return concluded, None
        text = state.said.text
        finish = finish_of({"type": "text", "text": text})
        return [*concluded, *finish], answer_of(self.job_id, text, state.resets)

    def _values(self, told: Sequence[Form] = ()) -> Told:
        return Told("values", values_of(self.asked, told))


def _after(state: State, event: Event, counted: int, draft: Draft) -> State:
    state = replace(state, started=True, told=state.told + counted, draft=draft)
    match event:
        case Token(content):
            return replace(state, said=state.said.add(content))
        case NeedsInput():
            return replace(state, asked=(*state.asked, event))
        case Reset():
            return replace(state, said=NOTHING, resets=state.resets + 1)
    return replace(state, said=NOTHING) if isinstance(event, Terminal) else state
