"""What the use cases ask of the outside.

`NotifierPort` and `LLMClientPort` are the domain's, the store of chats is in `chat_ports`.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sluice.application.encoding import Batch, Encoder, Handed, Push
from sluice.domain.chat import ChatId, ExecutionPath, Job, JobId, Question
from sluice.domain.events import CancelReason, Cursor, Event, Json, Recorded
from sluice.domain.graph_state import Outcome
from sluice.domain.ports import NotifierPort
from sluice.domain.rollout import Flag

Tell = Callable[[Event], None]
"""Takes an event in line, in the event loop's thread, and never raises."""


class PipelinePort(Protocol):
    """Runs a graph on one question. Cancelling it stops the model.

    Tells events in order as they happen, and returns the last one; raises ChatError. It reports
    no failed stages: whoever is told knows which are open. A question with a head is answered
    from the state there, and `Advanced` says where it stands then; `Pause` is no end, and a
    question with a resumption goes on from it.
    """

    async def run(self, question: Question, tell: Tell, /) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class JobLog:
    """A job with its log so far; `ended_at` is when its terminal event was written."""

    job: Job
    events: Sequence[Recorded]
    ended_at: datetime | None = None


class EventLogPort(Protocol):
    """The jobs and their logs: one truth for live, late, resumed and finished readers.

    Every method raises NotFound for an unknown job or one past its retention, and
    Unavailable while the store cannot be reached.
    """

    async def create(self, job: Job, first: Event, *, begins: bool = False) -> None:
        """Opens the log with `first` as 1-1. The same job again changes nothing.

        `begins`: the first attempt begins next, in this process. A store may write that with the
        log, and be done before it is as durable as it can be: see `settle`.
        """
        ...

    async def settle(self, job_id: JobId) -> None:
        """What was created is as durable as it can be when this returns. Readers wait for it too.

        Raises only Unavailable: the job may be over, and forgotten.
        """
        ...

    async def attempts(self, job_id: JobId) -> int:
        """How many have begun."""
        ...

    async def is_paused(self, job_id: JobId) -> bool:
        """Whether its last attempt has paused, and nobody has gone on with it."""
        ...

    async def begin(
        self, job_id: JobId, *, after: int | None = None, goes_on: bool = False
    ) -> NotifierPort:
        """Starts the next attempt; whatever wrote before is fenced off.

        With `goes_on`, an attempt that has paused goes on instead, by the same number, once.

        The first attempt goes on behind the log's first event, a later one starts at
        `<attempt>-1`. Raises Finished if the log has ended, and Superseded if it is not `after`
        attempts that have begun: who was right to begin one may have slept since.
        """
        ...

    async def job(self, job_id: JobId) -> Job: ...

    async def read(self, job_id: JobId) -> JobLog: ...

    async def follow(
        self, job_id: JobId, *, after: Cursor | None
    ) -> AsyncGenerator[Sequence[Recorded], None]:
        """Awaiting checks job and cursor; iterating yields what is new, in batches.

        The iteration ends after the terminal event. Raises Finished for its cursor. A cursor
        the log does not hold gives `reset` (`cursor_unknown`) as 1-0, then everything.
        """
        ...

    async def follow_encoded(
        self,
        job_id: JobId,
        *,
        after: Cursor | None,
        encoder: Encoder,
        skip: int = 0,
        push: Push | None = None,
        handed: Handed | None = None,
    ) -> AsyncGenerator[Batch, None]:
        """Like `follow`, as the encoder's frames.

        `skip`: how many frames of the event behind the cursor are left out, but never the last.
        `push` is offered tokens that come one by one while the iteration waits; what it takes
        is not yielded, and `handed` is told: the last one given, of all readers in this process.
        """
        ...

    async def unfinished(self, chat_id: ChatId | None = None) -> Sequence[Job]:
        """The jobs without a terminal event, of one chat or of all, oldest first."""
        ...

    async def delete(self, chat_id: ChatId) -> None:
        """Forgets the chat's jobs and their logs at once, and fences off who writes them."""
        ...

    async def open(self) -> None: ...

    async def aclose(self) -> None:
        """What was published is as durable as it can be when this returns."""
        ...

    async def check(self) -> None:
        """Raises Unavailable, saying why, unless the store can be written now."""
        ...

    def hang_up(self) -> None:
        """The service is leaving: every reader's iteration ends in Unavailable, now and later."""
        ...


CheckValue = Callable[[Mapping[str, Json], Json], None]
"""Holds a value to a JSON Schema: raises Refused, naming the field. A schema that is none is met by
anything."""


Stop = Callable[[], CancelReason | None]
"""Why a run is being cancelled; None hands the job back, to be run again elsewhere."""


Record = Callable[[], Awaitable[None]]
"""A step of writing down what a job is."""


async def nothing() -> None:
    """There is nothing to write, or to undo."""


class CheckpointPort(Protocol):
    """The checkpoints that graphs leave, by thread. Raises Unavailable while they are away."""

    async def forget(self, thread_id: str) -> None:
        """Deletes the thread with every text in it, if there is one."""
        ...

    async def prune(self, thread_id: str, keep: Collection[str], job_id: JobId) -> None:
        """Deletes all of a thread's checkpoints but those, which were in use behind the job's end.

        Deletes none if another job of its chat has begun since: that one builds on others.
        """
        ...


class JobQueuePort(Protocol):
    """Runs jobs in tasks of their own, as `scheduling` has it."""

    async def submit(self, job: Job, record: Record, undo: Record = nothing) -> None:
        """Admits the job, awaits `record`, then lets it run.

        Raises LimitReached when there is no room, Conflict when the chat's policy refuses the job,
        Unavailable when draining. A failing `record` takes the job out again; `undo` is awaited
        if it is known that it will never run. Whoever else submits that job is told Abandoned.
        A job that was admitted before stays so, and its steps may be repeated.
        """
        ...

    def runs_at_once(self, job_id: JobId) -> bool:
        """Whether the job that is being recorded runs as soon as it is, in this process."""
        ...

    async def cancel(self, job_id: JobId, reason: CancelReason) -> None:
        """Stops a queued or running job, and waits at most a second for its end to be stored.

        Others are no error. Workers elsewhere are only told.
        """
        ...

    async def wake(self, job_id: JobId, *, within: float = 0) -> None:
        """Has a paused job looked at, in so many seconds: it goes on if it has what it waits for.

        A job that is about to pause is looked at as soon as it has; others are no error.
        """
        ...


class ReadersPort(Protocol):
    """Is told who reads what, and decides what becomes of a job that nobody reads.

    The calls come in pairs, one for each reader, and wait for nothing.
    """

    def submitted(self, job_id: JobId) -> None:
        """Nobody reads it yet."""
        ...

    def joined(self, job_id: JobId) -> None: ...

    def left(self, job_id: JobId) -> None: ...


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a client is told of a job when it is taken."""

    job_id: JobId
    chat_id: ChatId
    path: ExecutionPath
    flag: Flag | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The path that a job takes, and why."""

    path: ExecutionPath
    flag: Flag


class FlagPort(Protocol):
    """`enable_token_streaming`."""

    async def decide(self, key: str, asked: ExecutionPath | None = None) -> Decision:
        """For a targeting key: the same key gives the same path for the same share.

        `asked` is what the request chose, where it may. Raises Unavailable only while nobody can
        know the share yet, since the store that holds it was not there from the start on.
        """
        ...
