"""What a job looks like from outside: its log, folded; and how it is cancelled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sluice.application.follow import owned
from sluice.application.keep_end import status_of
from sluice.application.pause_port import PausePort
from sluice.application.ports import EventLogPort, JobLog, JobQueuePort
from sluice.domain.chat import Job, JobId, JobStatus, UserId
from sluice.domain.events import (
    TERMINAL,
    Cursor,
    Data,
    Done,
    Failed,
    NeedsInput,
    Reasoning,
    Recorded,
    Reset,
    StageCompleted,
    StageFailed,
    StageStarted,
    Token,
    Tool,
)


@dataclass(frozen=True, slots=True)
class JobView:
    """`events` is the log, and the rest its fold.

    `text` is what was said so far; `end` the terminal event, if there is one; `resets`: how
    often what was said has been taken back. `missing`: the questions, by their `input_id`, that
    it waits for an answer to.
    """

    job: Job
    status: JobStatus
    text: str | None
    end: Done | Failed | None
    last_event_id: Cursor
    ended_at: datetime | None
    resets: int
    events: Sequence[Recorded]
    missing: frozenset[str] = frozenset()


def view(log: JobLog) -> JobView:
    status: JobStatus = "queued"
    end: Done | Failed | None = None
    pieces: list[str] = []
    resets = 0
    for recorded in log.events:
        match recorded.event:
            case Token(content):
                pieces.append(content)
                status = "running"
            case StageStarted() | Tool() | Reasoning() | Data():
                status = "running"
            case NeedsInput():
                status = "waiting"
            case StageCompleted() | StageFailed() if status == "waiting":
                status = "running"
            case Reset(reason):
                pieces.clear()
                resets += 1
                status = "queued" if reason == "new_attempt" else "running"
            case Done() | Failed() as event:
                end = event
    last = log.events[-1]
    if isinstance(last.event, TERMINAL):
        status = status_of(last.event)
    text = "".join(pieces) or None
    return JobView(log.job, status, text, end, last.id, log.ended_at, resets, log.events)


class ShowJob:
    """A log ends with its questions also when they are answered, until the job goes on."""

    def __init__(self, log: EventLogPort, pauses: PausePort) -> None:
        self._log, self._pauses = log, pauses

    async def __call__(self, user: UserId, job_id: JobId) -> JobView:
        await owned(self._log, user, job_id)
        found = view(await self._log.read(job_id))
        if found.status != "waiting" or (kept := await self._pauses.last(job_id)) is None:
            return found
        missing = frozenset(one.input_id for one in kept.missing)
        return replace(found, status="waiting" if missing else "queued", missing=missing)


class CancelJob:
    """Idempotent: a job that is over stays as it ended."""

    def __init__(self, log: EventLogPort, queue: JobQueuePort) -> None:
        self._log, self._queue = log, queue

    async def __call__(self, user: UserId, job_id: JobId) -> None:
        await owned(self._log, user, job_id)
        await self._queue.cancel(job_id, "user")
