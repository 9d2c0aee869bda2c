"""A job's events as chunks of the UI message stream, version 1: one message with one step.

Every draft of the answer is a text part, every stage a `data-stage` part that is replaced in
place. A replay from the beginning rebuilds the same message, so it needs no cursor.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from json.encoder import encode_basestring as quoted
from typing import Any

from sluice.application.codec import fields_of
from sluice.application.compact_json import compact
from sluice.domain.chat import Job, JobId
from sluice.domain.events import (
    Cancelled,
    Cursor,
    Done,
    Failed,
    Recorded,
    Reset,
    Stage,
    StageCompleted,
    StageFailed,
    StageStarted,
    Token,
)
from sluice.interfaces.protocols.frames import escaped, frames_of

_OVER = "[DONE]"
_FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
}


@dataclass(frozen=True, slots=True)
class State:
    """`texts`: how many text parts there were; `open`: whether the last one is still written to.

    `stages`: the last event of each, in the order in which they were first heard of.
    """

    started: bool = False
    texts: int = 0
    open: bool = False
    stages: tuple[Stage, ...] = ()


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
        if type(event) is Token and state.open:  # first, and all at once: nearly every event is one
            return state, frames_of(before, recorded.id, (_delta(state, event.content),))
        chunks = list[str]()
        if not state.started:
            chunks += [self._chunk("start", messageId=message_id(self.job_id))]
            chunks += [self._chunk("start-step")]
            state = replace(state, started=True)
        match event:
            case Token(content):
                state = self._say(state, content, chunks)
            case Reset(reason):
                state = self._take_back(state, reason, chunks)
            case Done():
                if event.answer and not state.open:  # nothing was said: path A1
                    state = self._say(state, event.answer, chunks)
                state = self._close(state, chunks)
                finished = _FINISH_REASONS.get(event.finish_reason or "", "other")
                usage = {"usage": fields_of(event)["usage"]} if event.usage else {}
                chunks += self._finish(finished, status="completed", **usage)
            case Cancelled():
                state = self._close(state, chunks)
                chunks += self._finish("other", status="cancelled", reason=event.reason)
            case Failed():
                state = self._close(state, chunks)
                chunks += self._error(event)
            case StageStarted() | StageCompleted() | StageFailed() as stage:
                state = replace(state, stages=_with(state.stages, stage))
                chunks.append(self._stage(stage))
        return state, frames_of(before, recorded.id, chunks)

    def _say(self, state: State, content: str, chunks: list[str]) -> State:
        state = replace(state, open=True, texts=state.texts + 1)
        chunks += [self._chunk("text-start", id=_text_id(state)), _delta(state, content)]
        return state

    def _close(self, state: State, chunks: list[str]) -> State:
        if not state.open:
            return state
        chunks.append(self._chunk("text-end", id=_text_id(state)))
        return replace(state, open=False)

    def _take_back(self, state: State, reason: str, chunks: list[str]) -> State:
        """With the step's text its stages go, too: those that stay are told again."""
        stages = () if reason == "new_attempt" else state.stages
        if self.resets_step:
            chunks.append(self._chunk("reset-step"))
            chunks += map(self._stage, stages)
        else:
            state = self._close(state, chunks)
            part = f"reset-{state.texts}"
            chunks.append(self._chunk("data-reset", id=part, data={"reason": reason}))
        return replace(state, open=False, stages=stages)

    def _finish(self, finished: str, **metadata: Any) -> list[str]:
        told = self._metadata(**metadata)
        finish = self._chunk("finish", finishReason=finished, messageMetadata=told)
        return [self._chunk("finish-step"), finish, _OVER]

    def _error(self, failed: Failed) -> list[str]:
        """The error is the last chunk: no reader goes on behind it."""
        error = {
            "code": failed.code,
            "retryable": failed.retryable,
            "request_id": failed.request_id,
        }
        told = self._metadata(status="failed", error=error)
        return [
            self._chunk("message-metadata", messageMetadata=told),
            self._chunk("error", errorText=failed.message),
        ]

    def _metadata(self, **metadata: Any) -> dict[str, Any]:
        return {"job_id": self.job_id, **metadata}

    def _stage(self, stage: Stage) -> str:
        return self._chunk("data-stage", id=f"stage-{stage.stage}", data=fields_of(stage))

    def _chunk(self, kind: str, **fields: Any) -> str:
        return escaped(compact({"type": kind, **fields}))


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
