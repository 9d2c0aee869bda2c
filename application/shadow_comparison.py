"""A job and its shadow, held beside each other."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from sluice.application.relay import Relay
from sluice.domain.chat import ExecutionPath, Job, now
from sluice.domain.events import (
    QUEUED,
    Done,
    Event,
    Failed,
    Recorded,
    StageCompleted,
    StageFailed,
    StageStarted,
    Terminal,
)
from sluice.domain.shadow import ShadowRun, Side

_BYTES_OF_A_TOKEN = 3
"""Of UTF-8, about: where the upstream does not count."""

Stages = Counter[tuple[str, str]]
"""How often each stage has begun and ended: side by side they come in any order."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A job with its end, as `ProcessChat` has run it."""

    job: Job
    relay: Relay
    end: Terminal
    begun_at: datetime
    ended_at: datetime

    @property
    def side(self) -> Side:
        return side_of(self.job.path, self.end, self.relay, self.begun_at, self.ended_at)


def side_of(
    path: ExecutionPath, end: Terminal, relay: Relay, begun_at: datetime, ended_at: datetime
) -> Side:
    if not isinstance(end, Done):
        return Side(path, error=end.code if isinstance(end, Failed) else end.reason)
    first, usage = relay.first_token_at, end.usage
    return Side(
        path,
        first_token=None if first is None else (first - begun_at).total_seconds(),
        answer=(ended_at - begun_at).total_seconds(),
        input_tokens=None if usage is None else usage.input_tokens,
        output_tokens=None if usage is None else usage.output_tokens,
        length=len(end.answer),
    )


def shadow_of(ended: Ended) -> ShadowRun:
    """About to run."""
    other: ExecutionPath = "A1" if ended.job.path == "A2" else "A2"
    return ShadowRun(ended.job.id, "running", ended.side, Side(other), tokens=_expected(ended))


def compared(
    run: ShadowRun, ended: Ended, end: Done, relay: Relay, begun_at: datetime, *, same_stages: bool
) -> ShadowRun:
    """The shadow has answered."""
    side = side_of(run.shadow.path, end, relay, begun_at, now())
    tokens = end.usage.total_tokens if end.usage is not None else run.tokens
    run = replace(run, state="ended", shadow=side, tokens=tokens)
    if not isinstance(ended.end, Done):
        return run
    return replace(run, same_text=end.answer == ended.end.answer, same_stages=same_stages)


def result_of(run: ShadowRun) -> Literal["same", "different", "failed", "cancelled"]:
    """For a count of the shadow's path; where only the job failed, the texts are different."""
    if run.state == "cancelled":
        return "cancelled"
    if run.shadow.error is not None:
        return "failed"
    return "same" if run.same_text else "different"


def stages_in(events: Iterable[Event]) -> Stages:
    return Counter(
        (type(event).__name__, event.stage)
        for event in events
        if isinstance(event, StageStarted | StageCompleted | StageFailed)
        and event.stage != QUEUED.stage
    )


def last_attempt(log: Sequence[Recorded]) -> Iterable[Event]:
    """Of a job that is over: its log holds its end."""
    attempt = log[-1].id.attempt
    return (one.event for one in log if one.id.attempt == attempt)


def _expected(ended: Ended) -> int:
    """What the job has cost, or would have by the length of its texts."""
    job, end, question = ended.job, ended.end, ended.relay.question
    if isinstance(end, Done) and end.usage is not None:
        return end.usage.total_tokens
    history = () if question is None else question.history
    texts = [job.message, *(turn.content for turn in history)]
    texts.append(end.answer if isinstance(end, Done) else ended.relay.text)
    return 1 + sum(len(text.encode()) for text in texts) // _BYTES_OF_A_TOKEN
