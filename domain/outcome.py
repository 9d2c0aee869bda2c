"""How a job went: what a rollout is judged by. Without a text, and without a user's id."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sluice.domain.chat import ExecutionPath, Job, JobId, JobStatus
from sluice.domain.events import CancelReason
from sluice.domain.rollout import Reason, Source

LeftOut = Literal["header"]
"""Why a job is in no figure: its request chose the path."""


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """One job, as whoever ran it knows it.

    `arm` is the path that was decided, `path` the one that ran. `begun_at` and `first_token_at` are
    of the attempt that ended it; `first_token_at` is when a token was published, and None on A1.
    `answered_at` is when the whole answer was there. Both are None where a human was waited for.
    `tokens` counts the pieces of the answer as they were streamed, `thrown_away` those that were
    streamed and are in no answer, about a token of the upstream's each; `input_tokens` and
    `output_tokens` are what the upstream said of a completed answer. `spoiled`: what had been shown
    was taken back, or is not the answer.
    """

    job_id: JobId
    arm: ExecutionPath
    path: ExecutionPath
    share: float
    reason: Reason
    source: Source
    rollout: str | None
    left_out: LeftOut | None
    admitted_at: datetime
    begun_at: datetime
    first_token_at: datetime | None
    answered_at: datetime | None
    ended_at: datetime
    status: JobStatus
    error: str | None
    cancelled_by: CancelReason | None
    tokens: int
    thrown_away: int
    input_tokens: int | None
    output_tokens: int | None
    attempts: int
    fell_back: bool
    spoiled: bool


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a job's readers were handed, over all of them.

    `first_at` is when the first character of the answer was handed to a socket, `longest_gap` in
    seconds between two tokens that were; None where there was none. `seen`: somebody was handed a
    character, a stage of the answer or its end; without it all readers left before that.
    """

    job_id: JobId
    first_at: datetime | None
    longest_gap: float | None
    seen: bool


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """`number` rises with the time of writing. `user` is the keyed hash of the targeting key.

    `first`: it is the first one of its user in the rollout. `delivered` is None if nobody read.
    """

    number: int
    written_at: datetime
    user: str
    first: bool
    outcome: JobOutcome
    delivered: Delivered | None


def left_out_of(job: Job) -> LeftOut | None:
    return "header" if job.flag is not None and job.flag.reason == "header" else None
