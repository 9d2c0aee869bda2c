"""A job's events as those of one AG-UI run: steps, and one text message for each draft."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from json.encoder import encode_basestring as quoted
from typing import NamedTuple

from sluice.application.compact_json import compact
from sluice.domain.chat import JobId
from sluice.domain.events import (
    TERMINAL,
    Cancelled,
    Cursor,
    Done,
    Event,
    Failed,
    Recorded,
    Reset,
    StageCompleted,
    StageFailed,
    StageStarted,
    Terminal,
    Token,
)
from sluice.interfaces.protocols.frames import escaped, frames_of


class Step(NamedTuple):
    stage: str
    name: str


@dataclass(frozen=True, slots=True)
class State:
    """`drafts`: how many were taken back; `open`: whether this one's message is; `steps`: open."""

    started: bool = False
    drafts: int = 0
    open: bool = False
    steps: tuple[Step, ...] = ()


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
        if type(event) is Token and state.open:  # first, and all at once: nearly every event is one
            return state, frames_of(before, recorded.id, (self._content(state, event.content),))
        told = list[str]()
        if not state.started:
            told += opening(self.thread_id, self.run_id)
            if self.opens_with_messages:
                told.append(snapshot(self.messages))
            state = replace(state, started=True)
        if isinstance(event, TERMINAL):
            state = self._end(state, event, told)
        else:
            state = self._go_on(state, event, told)
        return state, frames_of(before, recorded.id, told)

    def _go_on(self, state: State, event: Event, told: list[str]) -> State:
        match event:
            case Token(content):
                return self._say(state, content, told)
            case StageStarted(stage):
                return _open_step(state, stage, told)
            case StageCompleted(stage) | StageFailed(stage):
                return _close_step(state, stage, told)
            case Reset(reason):
                return self._take_back(state, reason, told)
        return state

    def _end(self, state: State, end: Terminal, told: list[str]) -> State:
        if isinstance(end, Done) and end.answer and not state.open:  # nothing was said: path A1
            state = self._say(state, end.answer, told)
        state = self._close(state, told)
        match end:
            case Done():
                told.append(finished(self.thread_id, self.run_id, "success"))
            case Cancelled():
                told.append(finished(self.thread_id, self.run_id, "cancelled"))
            case Failed(code, message):
                told.append(_event("RUN_ERROR", message=message, code=code))
        return state

    def _say(self, state: State, content: str, told: list[str]) -> State:
        own = self._message_id(state)
        told += [_event("TEXT_MESSAGE_START", messageId=own, role="assistant")]
        told += [self._content(state, content)]
        return replace(state, open=True)

    def _content(self, state: State, content: str) -> str:
        own = quoted(self._message_id(state))
        return escaped(
            f'{{"type":"TEXT_MESSAGE_CONTENT","messageId":{own},"delta":{quoted(content)}}}'
        )

    def _end_message(self, state: State, told: list[str]) -> State:
        if state.open:
            told.append(_event("TEXT_MESSAGE_END", messageId=self._message_id(state)))
        return replace(state, open=False)

    def _close(self, state: State, told: list[str]) -> State:
        """Before the run's end: one with an open message or step is refused."""
        told += [_event("STEP_FINISHED", stepName=one.name) for one in reversed(state.steps)]
        return replace(self._end_message(state, told), steps=())

    def _take_back(self, state: State, reason: str, told: list[str]) -> State:
        """The next draft is another message: a client would go on with one that it knows."""
        said = state.open
        again = reason == "new_attempt"
        state = self._close(state, told) if again else self._end_message(state, told)
        if not said and reason != "cursor_unknown":
            return state
        told.append(snapshot(self.messages))
        return replace(state, drafts=state.drafts + 1)

    def _message_id(self, state: State) -> str:
        own = message_id(self.job_id)
        return f"{own}-r{state.drafts}" if state.drafts else own


def _open_step(state: State, stage: str, told: list[str]) -> State:
    """A name that is open already gets a number: two steps of one name are refused."""
    number, name, names = 1, stage, [step.name for step in state.steps]
    while name in names:
        number += 1
        name = f"{stage}#{number}"
    told.append(_event("STEP_STARTED", stepName=name))
    return replace(state, steps=(*state.steps, Step(stage, name)))


def _close_step(state: State, stage: str, told: list[str]) -> State:
    """The last one of the stage; one that was never opened is over as soon as it is told."""
    if all(step.stage != stage for step in state.steps):
        state = _open_step(state, stage, told)
    last = [step for step in state.steps if step.stage == stage][-1]
    told.append(_event("STEP_FINISHED", stepName=last.name))
    return replace(state, steps=tuple(step for step in state.steps if step != last))


def opening(thread_id: str, run_id: str) -> list[str]:
    return [_event("RUN_STARTED", threadId=thread_id, runId=run_id)]


def snapshot(messages: str) -> str:
    """`messages`: as JSON."""
    return escaped(f'{{"type":"MESSAGES_SNAPSHOT","messages":{messages}}}')


def finished(thread_id: str, run_id: str, outcome: str) -> str:
    return _event("RUN_FINISHED", threadId=thread_id, runId=run_id, outcome={"type": outcome})


def message_id(job_id: JobId) -> str:
    return f"msg_{job_id}"


def _event(kind: str, **fields: object) -> str:
    return escaped(compact({"type": kind, **fields}))
