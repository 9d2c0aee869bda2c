"""What the use cases ask of the outside. `NotifierPort` and `LLMClientPort` are the domain's."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sluice.domain.chat import (
    Chat,
    ChatId,
    ExecutionPath,
    Job,
    JobId,
    JobStatus,
    Message,
    Question,
    UserId,
)
from sluice.domain.events import CancelReason, Cursor, Done, Event, Recorded
from sluice.domain.ports import NotifierPort

Tell = Callable[[Event], None]
"""Takes an event in line, in the event loop's thread, and never raises."""


class PipelinePort(Protocol):
    """Runs a graph on one question. Cancelling it stops the model.

    Tells events in order as they happen, and returns the last one; raises ChatError. It reports
    no failed stages: whoever is told knows which are open.
    """

    async def run(self, question: Question, tell: Tell, /) -> Done: ...


Push = Callable[[Recorded], bool]
"""Takes an event in line, from where it is published, or says False. Never raises."""


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

    async def create(self, job: Job, first: Event) -> None:
        """Opens the log with `first` as 1-1. The same job again changes nothing."""
        ...

    async def attempts(self, job_id: JobId) -> int:
        """How many have begun."""
        ...

    async def begin(self, job_id: JobId, *, after: int | None = None) -> NotifierPort:
        """Starts the next attempt; whatever wrote before is fenced off.

        The first attempt goes on behind the log's first event, a later one starts at
        `<attempt>-1`. Raises Finished if the log has ended, and Superseded if it is not `after`
        attempts that have begun: who was right to begin one may have slept since.
        """
        ...

    async def job(self, job_id: JobId) -> Job: ...

    async def read(self, job_id: JobId) -> JobLog: ...

    async def follow(
        self, job_id: JobId, *, after: Cursor | None, push: Push | None = None
    ) -> AsyncGenerator[Sequence[Recorded], None]:
        """Awaiting checks job and cursor; iterating yields what is new, in batches.

        The iteration ends after the terminal event. Raises Finished for its cursor. A cursor
        the log does not hold gives `reset` (`cursor_unknown`) as 1-0, then everything.

        `push` is offered tokens that come one by one while the iteration waits; what it takes
        is not yielded.
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


Stop = Callable[[], CancelReason | None]
"""Why a run is being cancelled; None hands the job back, to be run again elsewhere."""


Record = Callable[[], Awaitable[None]]
"""A step of writing down what a job is."""


async def nothing() -> None:
    """There is nothing to write, or to undo."""


class JobQueuePort(Protocol):
    """Runs jobs in tasks of their own, as `scheduling` has it."""

    async def submit(self, job: Job, record: Record, undo: Record = nothing) -> None:
        """Admits the job, awaits `record`, then lets it run.

        Raises Busy when there is no room, Conflict when the chat's policy refuses the job,
        Unavailable when draining. A failing `record` takes the job out again; `undo` is awaited
        if it is known that it will never run. Whoever else submits that job is told Abandoned.
        A job that was admitted before stays so, and its steps may be repeated.
        """
        ...

    async def cancel(self, job_id: JobId, reason: CancelReason) -> None:
        """Stops a queued or running job, and waits at most a second for its end to be stored.

        Others are no error. Workers elsewhere are only told.
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


class ConversationPort(Protocol):
    """Chats and their messages. A chat of another user is NotFound, like one that never was."""

    async def open(self, chat: Chat) -> Chat:
        """Creates the chat, or returns the user's own of that id as it stands."""
        ...

    async def chat(self, user: UserId, chat_id: ChatId) -> Chat: ...

    async def chats(
        self, user: UserId, *, limit: int, before: tuple[datetime, ChatId] | None
    ) -> Sequence[Chat]:
        """Newest first, strictly older than `before`."""
        ...

    async def rename(self, user: UserId, chat_id: ChatId, title: str | None) -> None: ...

    async def delete(self, user: UserId, chat_id: ChatId) -> None:
        """Removes the chat with every text in it, from the file too."""
        ...

    async def messages(self, user: UserId, chat_id: ChatId) -> Sequence[Message]:
        """Oldest first."""
        ...

    async def asked(self, job: Job) -> None:
        """Keeps the job's question; the same job again only counts its attempts anew."""
        ...

    async def unasked(self, job: Job) -> None:
        """Forgets the question of a job that was not taken; a retried one is its job's again."""
        ...

    async def answered(self, job: Job, answer: str, status: JobStatus, attempt: int) -> None:
        """Keeps the job's answer, whole or partial, in place of what was kept before.

        An empty one keeps none. Once an attempt has called, an earlier one's call does nothing.
        """
        ...

    async def ended(self, job_id: JobId) -> bool:
        """Whether the job was ever `answered`: that outlives its log, but not its chat."""
        ...

    async def session(self, user: UserId, name: str, chat_id: ChatId) -> ChatId:
        """The chat that the user's session of that name is: `chat_id` from now on if there is none.

        It need not have been opened yet. Once it is deleted the name is free again.
        """
        ...

    async def claim(self, user: UserId, key: str, fingerprint: str, accepted: Accepted) -> Accepted:
        """Binds an idempotency key for 24 h; returns what it is bound to.

        Raises Conflict if it is bound to another fingerprint.
        """
        ...

    async def unclaim(self, user: UserId, key: str, job_id: JobId) -> None:
        """Frees the key of that job; one that is another's by now stays bound."""
        ...


class FlagPort(Protocol):
    """`enable_token_streaming`."""

    async def path(self, key: str) -> ExecutionPath:
        """A1 or A2 for a targeting key; the same key gives the same path for the same share."""
        ...
