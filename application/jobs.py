"""What a job looks like from outside: its log, folded; and how it is cancelled."""

from dataclasses import dataclass
from datetime import datetime

from sluice.application.follow import owned
from sluice.application.ports import EventLogPort, JobLog, JobQueuePort
from sluice.application.process_chat import status_of
from sluice.domain.chat import Job, JobId, JobStatus, UserId
from sluice.domain.events import (
    TERMINAL,
    Cursor,
    Data,
    Done,
    Failed,
    Reasoning,
    Reset,
    StageStarted,
    Token,
    Tool,
)


@dataclass(frozen=True, slots=True)
class JobView:
    """`text` is what was said so far; `end` the terminal event, if there is one."""

    job: Job
    status: JobStatus
    text: str | None
    end: Done | Failed | None
    last_event_id: Cursor
    ended_at: datetime | None


def view(log: JobLog) -> JobView:
    status: JobStatus = "queued"
    end: Done | Failed | None = None
    pieces: list[str] = []
    for recorded in log.events:
        match recorded.event:
            case Token(content):
                pieces.append(content)
                status = "running"
            case StageStarted() | Tool() | Reasoning() | Data():
                status = "running"
            case Reset(reason):
                pieces.clear()
                if reason == "new_attempt":
                    status = "queued"
            case Done() | Failed() as event:
                end = event
    last = log.events[-1]
    if isinstance(last.event, TERMINAL):
        status = status_of(last.event)
    return JobView(log.job, status, "".join(pieces) or None, end, last.id, log.ended_at)


class ShowJob:
    def __init__(self, log: EventLogPort) -> None:
        self._log = log

    async def __call__(self, user: UserId, job_id: JobId) -> JobView:
        await owned(self._log, user, job_id)
        return view(await self._log.read(job_id))


class CancelJob:
    """Idempotent: a job that is over stays as it ended."""

    def __init__(self, log: EventLogPort, queue: JobQueuePort) -> None:
        self._log, self._queue = log, queue

    async def __call__(self, user: UserId, job_id: JobId) -> None:
        await owned(self._log, user, job_id)
        await self._queue.cancel(job_id, "user")
