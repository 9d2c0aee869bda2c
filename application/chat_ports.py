"""What the use cases ask of the store of chats. Its parts share a database."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from sluice.application.ports import Accepted
from sluice.domain.chat import Chat, ChatId, Job, JobId, JobStatus, Message, UserId
from sluice.domain.graph_state import Head
from sluice.domain.outcome import JobOutcome


class ChatPort(Protocol):
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

    async def add_question(
        self, job: Job, message_id: str | None = None, opens: Chat | None = None
    ) -> None:
        """Keeps the job's question, by its client's own id if there is one.

        `opens` is its chat, if it may not be there yet. The same job again only counts its
        attempts anew. The job's log is created next: a store may keep both at once, and then raise
        NotFound there.
        """
        ...

    async def remove_question(self, job: Job) -> None:
        """Forgets the question of a job that was not taken; a retried one is its job's again."""
        ...

    async def keep_answer(
        self,
        job: Job,
        answer: str,
        status: JobStatus,
        attempt: int,
        outcome: JobOutcome | None = None,
        head: Head | None = None,
    ) -> None:
        """Keeps the job's answer, whole or partial, in place of what was kept before: at the latest
        with the job's terminal event, which is written next.

        An empty one keeps none. The outcome is kept with it or not at all, also of a job in no
        chat. Once an attempt has called, an earlier one's call does nothing.
        In the same commit the chat's graph moves to `head`, unless what it knows is of a later
        turn; without one it goes back to where the job began, if it had moved with that job.
        """
        ...

    async def has_ended(self, job_id: JobId) -> bool:
        """Whether its answer was kept, if only an empty one: known longer than its log."""
        ...


class HeadPort(Protocol):
    """Where each chat's graph stands, if it keeps a state of its own: a thread for each chat."""

    async def begin(self, job: Job) -> Head:
        """Where every run of the job begins: the same for all its attempts, and for its retries.

        That is where the chat stood when the first of them began. Raises NotFound.
        """
        ...

    async def in_use(self, job: Job, since: datetime) -> Collection[str]:
        """The checkpoints of the job's chat at which a run may begin; none if it was deleted.

        They are where the chat stands, and where jobs began that have not ended before `since`.
        """
        ...

    async def leave(self, thread_id: str) -> None:
        """Has the thread be among the `deleted`, of which nobody could be rid now."""
        ...

    async def deleted(self) -> Collection[str]:
        """The threads that nobody has `forgotten` yet: of deleted chats, and of their jobs that
        have asked a human.
        """
        ...

    async def forgotten(self, thread_id: str) -> None: ...


class SessionPort(Protocol):
    """The names that users give to chats of theirs."""

    async def session(self, user: UserId, name: str, chat_id: ChatId) -> ChatId:
        """The chat that the user's session of that name is: `chat_id` from now on if there is none.

        It need not have been opened yet. Once it is deleted the name is free again.
        """
        ...

    async def find(self, user: UserId, name: str) -> ChatId | None:
        """The chat of that name, if there is one."""
        ...

    async def name(self, user: UserId, chat_id: ChatId) -> str | None:
        """The first name that the user's chat has, if it has one."""
        ...


class IdempotencyPort(Protocol):
    """What each idempotency key of a user is bound to; a chat's deletion frees its keys."""

    async def claim(self, user: UserId, key: str, fingerprint: str, accepted: Accepted) -> Accepted:
        """Binds the key for 24 h; returns what it is bound to.

        Raises Conflict if it is bound to another fingerprint.
        """
        ...

    async def find(self, user: UserId, key: str) -> Accepted | None:
        """What the key is bound to, if it is."""
        ...

    async def release(self, user: UserId, key: str, job_id: JobId) -> None:
        """Frees the key of that job; one that is another's by now stays bound."""
        ...
