"""A job's events as chunks of the UI message stream, version 1: one message with one step.

Every draft of the answer is a text part, every stage a `data-stage` part that is replaced in
place; a tool call, a thought and a piece of data have parts of their own. A replay from the
beginning rebuilds the same message, so it needs no cursor.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from json.encoder import encode_basestring as quoted
from typing import Any

from sluice.application.codec import fields_of
from sluice.domain.chat import Job, JobId
from sluice.domain.events import (
    TERMINAL,
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
    Stage,
    Terminal,
    Token,
    Tool,
)
from sluice.interfaces.protocols.ai_sdk.chunks import (
    chunk,
    told_again,
    told_call,
    told_data,
    told_question,
    told_stage,
    told_thought,
    told_thoughts_end,
)
from sluice.interfaces.protocols.beside import NOTHING_BESIDE, Beside
from sluice.interfaces.protocols.frames import escaped, frames_of
from sluice.interfaces.protocols.pauses import goes_on

_OVER = "[DONE]"
_NEXT_STEP = (chunk("finish-step"), chunk("start-step"))
"""Before and behind what is asked at once: a client goes on by itself when all tools of the last
step have a result or an answer, and what is shown of the graph's own tools may have none yet.
"""
_FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
}


@dataclass(frozen=True, slots=True)
class State:
    """`texts`: how many text parts there were; `open`: whether the last one is still written to;
    `said`: whether anything of the answer was. `asked`: what the job waits for.

    `stages`: the last event of each, in the order in which they were first heard of.
    """

    started: bool = False
    texts: int = 0
    open: bool = False
    stages: tuple[Stage, ...] = ()
    beside: Beside = NOTHING_BESIDE
    data: tuple[Data, ...] = ()
    said: bool = False
    asked: tuple[NeedsInput, ...] = ()


@dataclass(frozen=True)
class AiSdkEncoder:
    """`resets_step`: `ai` 7 takes a step back; to 5 and 6 a `data-reset` part says to drop it."""

    job_id: JobId
    resets_step: bool = True
    joins_tokens: bool = True
    initial: State = State()

    def encode(
        self, state: State, before: Cursor, recorded: Recorded, /
    ) -> tuple[State, Sequence[bytes]]:
        event = recorded.event
        if type(event) is Token and state.open and not state.beside.thinking:
            # first, and all at once: nearly every event is one
            return state, frames_of(before, recorded.id, (_delta(state, event.content),))
        chunks = list[str]()
        if not state.started:
            chunks += [chunk("start", messageId=message_id(self.job_id))]
            chunks += [chunk("start-step")]
            state = replace(state, started=True)
        elif goes_on(state.asked, event):
            if not isinstance(event, NeedsInput):
                chunks += _NEXT_STEP
            state = replace(state, asked=())
        if isinstance(event, TERMINAL):
            state = self._end(state, event, chunks)
        else:
            state = self._go_on(state, event, chunks)
        return state, frames_of(before, recorded.id, chunks)

    def _go_on(self, state: State, event: Event, chunks: list[str]) -> State:
        if isinstance(event, Stage):
            chunks.append(told_stage(event))
            return replace(state, stages=_with(state.stages, event))
        match event:
            case Token(content, node):
                state = self._conclude(state, node, chunks)
                if state.open:
                    chunks.append(_delta(state, content))
                    return state
                return self._say(state, content, chunks)
            case Tool():
                state = self._conclude(state, event.node, chunks)
                beside, before, call = state.beside.step(event)
                chunks += told_call(self.job_id, before, call)
                return replace(state, beside=beside)
            case Reasoning(content):
                beside, begins, thought = state.beside.think(event)
                chunks += told_thought(self.job_id, thought, content, begins=begins)
                return replace(state, beside=beside)
            case Data():
                chunks.append(told_data(event))
                return replace(state, data=(*state.data, event)) if self.resets_step else state
            case Reset(reason):
                return self._take_back(state, reason, chunks)
            case NeedsInput():
                state = self._close(self._conclude(state, None, chunks), chunks)
                chunks += () if state.asked else _NEXT_STEP
                chunks += told_question(event, approvals=self.resets_step)
                return replace(state, asked=(*state.asked, event))
        return state

    def closing(self, _state: State, last: Cursor, /) -> Sequence[bytes]:
        told = self._finish("tool-calls", status="waiting")
        return [f"id: {last}\ndata: {one}\n\n".encode() for one in told]

    def _end(self, state: State, end: Terminal, chunks: list[str]) -> State:
        if isinstance(end, Done) and end.answer and not state.said:  # nothing was said: path A1
            state = self._say(state, end.answer, chunks)
        state = self._close(self._conclude(state, None, chunks), chunks)
        match end:
            case Done():
                finished = _FINISH_REASONS.get(end.finish_reason or "", "other")
                usage = {"usage": fields_of(end)["usage"]} if end.usage else {}
                chunks += self._finish(finished, status="completed", **usage)
            case Cancelled():
                chunks += self._finish("other", status="cancelled", reason=end.reason)
            case Failed():
                chunks += self._error(end)
        return state

    def _say(self, state: State, content: str, chunks: list[str]) -> State:
        state = replace(state, open=True, said=True, texts=state.texts + 1)
        chunks += [chunk("text-start", id=_text_id(state)), _delta(state, content)]
        return state

    def _close(self, state: State, chunks: list[str]) -> State:
        if not state.open:
            return state
        chunks.append(chunk("text-end", id=_text_id(state)))
        return replace(state, open=False)

    def _conclude(self, state: State, node: str | None, chunks: list[str]) -> State:
        """End the node's thoughts, or all."""
        beside, ended = state.beside.conclude(node)
        chunks += [told_thoughts_end(self.job_id, thought) for thought in ended]
        return replace(state, beside=beside) if ended else state

    def _take_back(self, state: State, reason: str, chunks: list[str]) -> State:
        """With the step's text all else of it goes, too: what stays is told again."""
        if reason == "new_attempt":
            state = self._conclude(state, None, chunks)
            state = replace(state, stages=(), beside=state.beside.drop(), data=())
        if self.resets_step:
            chunks.append(chunk("reset-step"))
            chunks += map(told_stage, state.stages)
            chunks += told_again(self.job_id, state.beside.items)
            chunks += map(told_data, state.data)
        else:
            state = self._close(state, chunks)
            part = f"reset-{state.texts}"
            chunks.append(chunk("data-reset", id=part, data={"reason": reason}))
        return replace(state, open=False, said=False)

    def _finish(self, finished: str, **metadata: Any) -> list[str]:
        told = self._metadata(**metadata)
        finish = chunk("finish", finishReason=finished, messageMetadata=told)
        return [chunk("finish-step"), finish, _OVER]

    def _error(self, failed: Failed) -> list[str]:
        """The error is the last chunk: no reader goes on behind it."""
        error = {
            "code": failed.code,
            "retryable": failed.retryable,
            "request_id": failed.request_id,
        }
        told = self._metadata(status="failed", error=error)
        return [
            chunk("message-metadata", messageMetadata=told),
            chunk("error", errorText=failed.message),
        ]

    def _metadata(self, **metadata: Any) -> dict[str, Any]:
        return {"job_id": self.job_id, **metadata}


def message_id(job_id: JobId) -> str:
    return f"msg_{job_id}"


def _text_id(state: State) -> str:
    return f"text-{state.texts}"


def _delta(state: State, content: str) -> str:
    return escaped(f'{{"type":"text-delta","id":"{_text_id(state)}","delta":{quoted(content)}}}')


def _with(stages: tuple[Stage, ...], stage: Stage) -> tuple[Stage, ...]:
    found = [stage if old.stage == stage.stage else old for old in stages]
    return tuple(found) if stage in found else (*stages, stage)


def encoder_for(job: Job) -> AiSdkEncoder:
    return AiSdkEncoder(job.id)


def compatible_encoder_for(job: Job) -> AiSdkEncoder:
    """For `ai` 5 and 6."""
    return AiSdkEncoder(job.id, resets_step=False)
