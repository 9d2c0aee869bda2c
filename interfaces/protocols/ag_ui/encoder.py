"""A job's events as those of one AG-UI run: steps, one text message for each draft, and messages
of their own for each tool call and each thought.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from json.encoder import encode_basestring as quoted

from sluice.application.compact_json import compact
from sluice.domain.chat import JobId
from sluice.domain.events import (
    Cancelled,
    Cursor,
    Data,
    Done,
    Event,
    Failed,
    NeedsInput,
    Reasoning,
    Recorded,
    Reset,
    StageCompleted,
    StageFailed,
    StageStarted,
    Terminal,
    Token,
    Tool,
)
from sluice.interfaces.protocols.ag_ui.events import (
    event_of,
    finished,
    interrupted,
    message_id,
    messages_of,
    opening,
    result_of,
    snapshot,
)
from sluice.interfaces.protocols.ag_ui.steps import Step, closed, opened
from sluice.interfaces.protocols.beside import (
    NOTHING_BESIDE,
    Beside,
    Call,
    call_id,
    thought_id,
)
from sluice.interfaces.protocols.frames import escaped, frames_of
from sluice.interfaces.protocols.pauses import goes_on

_THOUGHT_ENDS = ("REASONING_MESSAGE_END", "REASONING_END")


@dataclass(frozen=True, slots=True)
class State:
    """`drafts`: how many messages there were before the present one; `open`: whether it is;
    `steps`: open. `said`: whether anything of the answer was. `asked`: what the job waits for.
    """

    started: bool = False
    drafts: int = 0
    open: bool = False
    steps: tuple[Step, ...] = ()
    beside: Beside = NOTHING_BESIDE
    said: bool = False
    asked: tuple[NeedsInput, ...] = ()


@dataclass(frozen=True)
class AgUiEncoder:
    """`messages`: the thread up to the question, as JSON: what stays when a draft is taken back.

    A snapshot replaces all that a client shows. One that has nothing yet gets it first of all.
    """

    job_id: JobId
    thread_id: str
    run_id: str
    messages: str = "[]"
    opens_with_messages: bool = False
    joins_tokens: bool = True
    initial: State = State()

    def encode(
        self, state: State, before: Cursor, recorded: Recorded, /
    ) -> tuple[State, Sequence[bytes]]:
        event = recorded.event
        if type(event) is Token and state.open and not state.beside.thinking:
            # first, and all at once: nearly every event is one
            return state, frames_of(before, recorded.id, (self._content(state, event.content),))
        told = list[str]()
        if not state.started:
            told += opening(self.thread_id, self.run_id)
            if self.opens_with_messages:
                told.append(snapshot(self.messages))
            state = replace(state, started=True)
        elif goes_on(state.asked, event):
            told += [self._interrupted(state), *opening(self.thread_id, self.run_id)]
            state = replace(state, asked=())
        if isinstance(event, Terminal):
            state = self._end(state, event, told)
        else:
            state = self._go_on(state, event, told)
        return state, frames_of(before, recorded.id, told)

    def closing(self, state: State, last: Cursor, /) -> Sequence[bytes]:
        told = escaped(self._interrupted(state))
        return [f"id: {last}.1\ndata: {told}\n\n".encode()]

    def _interrupted(self, state: State) -> str:
        return interrupted(self.thread_id, self.run_id, state.asked)

    def _go_on(self, state: State, event: Event, told: list[str]) -> State:
        match event:
            case Token(content, node):
                state = self._conclude(state, node, told)
                if state.open:
                    told.append(self._content(state, content))
                    return state
                return self._say(state, content, told)
            case Tool():
                return self._call(self._conclude(state, event.node, told), event, told)
            case Reasoning():
                return self._think(state, event, told)
            case Data(name, data):
                told.append(event_of("CUSTOM", name=name, value=data))
            case StageStarted(stage):
                return replace(state, steps=opened(state.steps, stage, told))
            case StageCompleted(stage) | StageFailed(stage):
                return replace(state, steps=closed(state.steps, stage, told))
            case Reset(reason):
                return self._take_back(state, reason, told)
            case NeedsInput():
                return self._ask(state, event, told)
        return state

    def _ask(self, state: State, question: NeedsInput, told: list[str]) -> State:
        """The run ends here. What is said behind it is another message, as the next run's is."""
        drafts = state.drafts + state.open
        state = self._close(state, told)
        return replace(state, drafts=drafts, asked=(*state.asked, question))

    def _end(self, state: State, end: Terminal, told: list[str]) -> State:
        if isinstance(end, Done) and end.answer and not state.said:  # nothing was said: path A1
            state = self._say(state, end.answer, told)
        state = self._close(state, told)
        match end:
            case Done():
                told.append(finished(self.thread_id, self.run_id, "success"))
            case Cancelled():
                told.append(finished(self.thread_id, self.run_id, "cancelled"))
            case Failed(code, message):
                told.append(event_of("RUN_ERROR", message=message, code=code))
        return state

    def _say(self, state: State, content: str, told: list[str]) -> State:
        own = self._message_id(state)
        told += [event_of("TEXT_MESSAGE_START", messageId=own, role="assistant")]
        told += [self._content(state, content)]
        return replace(state, open=True, said=True)

    def _content(self, state: State, content: str) -> str:
        own = quoted(self._message_id(state))
        return escaped(
            f'{{"type":"TEXT_MESSAGE_CONTENT","messageId":{own},"delta":{quoted(content)}}}'
        )

    def _end_message(self, state: State, told: list[str]) -> State:
        if state.open:
            told.append(event_of("TEXT_MESSAGE_END", messageId=self._message_id(state)))
        return replace(state, open=False)

    def _call(self, state: State, tool: Tool, told: list[str]) -> State:
        beside, before, call = state.beside.step(tool)
        own = call_id(self.job_id, call)
        if before is None:
            told.append(event_of("TOOL_CALL_START", toolCallId=own, toolCallName=call.name))
        if call.status != "started" and (before is None or before.status == "started"):
            if call.arguments:
                told.append(event_of("TOOL_CALL_ARGS", toolCallId=own, delta=call.arguments))
            told.append(event_of("TOOL_CALL_END", toolCallId=own))
        if call.over:
            told.append(event_of("TOOL_CALL_RESULT", **result_of(own, call)))
        return replace(state, beside=beside)

    def _think(self, state: State, piece: Reasoning, told: list[str]) -> State:
        beside, begins, thought = state.beside.think(piece)
        own = thought_id(self.job_id, thought)
        if begins:
            told += [
                event_of("REASONING_START", messageId=own),
                event_of("REASONING_MESSAGE_START", messageId=own, role="reasoning"),
            ]
        told.append(event_of("REASONING_MESSAGE_CONTENT", messageId=own, delta=piece.content))
        return replace(state, beside=beside)

    def _conclude(self, state: State, node: str | None, told: list[str]) -> State:
        """End the node's thoughts, or all."""
        beside, ended = state.beside.conclude(node)
        for thought in ended:
            own = thought_id(self.job_id, thought)
            told += [event_of(kind, messageId=own) for kind in _THOUGHT_ENDS]
        return replace(state, beside=beside) if ended else state

    def _close(self, state: State, told: list[str]) -> State:
        """Before the run's end: one with anything open is refused."""
        state = self._conclude(state, None, told)
        calls = [one for one in state.beside.items if isinstance(one, Call)]
        unended = [call_id(self.job_id, one) for one in calls if one.status == "started"]
        told += [event_of("TOOL_CALL_END", toolCallId=own) for own in unended]
        told += [event_of("STEP_FINISHED", stepName=one.name) for one in reversed(state.steps)]
        return replace(self._end_message(state, told), steps=())

    def _take_back(self, state: State, reason: str, told: list[str]) -> State:
        """The next draft is another message: a client would go on with one that it knows."""
        said, beside = state.said, bool(state.beside.items)
        if reason == "new_attempt":
            state = self._close(state, told)
            state, said = replace(state, beside=state.beside.drop()), said or beside
        else:
            state = self._end_message(state, told)
        if not said and reason != "cursor_unknown":
            return state
        calls = [one for one in state.beside.items if isinstance(one, Call)]
        told.append(snapshot(self._with(calls)))
        return replace(state, drafts=state.drafts + 1, said=False)

    def _with(self, calls: Sequence[Call]) -> str:
        """The thread, and the calls that were told: they are not taken back with a text."""
        shown = [message for call in calls for message in messages_of(self.job_id, call)]
        if not shown:
            return self.messages
        between = "" if self.messages == "[]" else ","
        return f"{self.messages[:-1]}{between}{compact(shown)[1:]}"

    def _message_id(self, state: State) -> str:
        own = message_id(self.job_id)
        return f"{own}-r{state.drafts}" if state.drafts else own
