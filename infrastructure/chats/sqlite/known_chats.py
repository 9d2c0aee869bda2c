"""The chats last asked for, as they stand: each question asks twice whether its chat is there.
And what chats say in which a first question waits for its answer: that is nothing else.

Nobody else writes them, in this process or in another, which could not open the file.
"""

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager

from sluice.domain.chat import Chat, ChatId, Job, JobId, Message, UserId

_MOST = 4096


class KnownChats:
    def __init__(self) -> None:
        self._chats: dict[tuple[UserId, ChatId], Chat] = {}
        self._changes = 0
        """Renamed or deleted: what was read before that may be no more."""
        self._questions: dict[tuple[UserId, ChatId], tuple[JobId, Message | None]] = {}
        """Of each chat the one asked last, with its message if that is all there is."""

    def get(self, user: UserId, chat_id: ChatId) -> Chat | None:
        return self._chats.get((user, chat_id))

    async def learn(self, reading: Awaitable[Chat]) -> Chat:
        changes = self._changes
        chat = await reading
        if changes == self._changes:
            self._chats[chat.user, chat.id] = chat
            if len(self._chats) > _MOST:
                del self._chats[next(iter(self._chats))]
        return chat

    def asks(self, job: Job) -> None:
        """About to be written."""
        self._questions[job.user, job.chat_id] = job.id, None
        if len(self._questions) > _MOST:
            del self._questions[next(iter(self._questions))]

    def has_asked(self, job: Job, only: Message) -> None:
        """It is written, and nothing was there before."""
        if self._questions.get((job.user, job.chat_id)) == (job.id, None):
            self._questions[job.user, job.chat_id] = job.id, only

    def only(self, user: UserId, chat_id: ChatId) -> Message | None:
        """All that the chat says; None if that is more, or not known."""
        _, message = self._questions.get((user, chat_id), (None, None))
        return message

    def changes(self, user: UserId, chat_id: ChatId) -> None:
        """What the chat says is about to change."""
        self._questions.pop((user, chat_id), None)

    @contextmanager
    def changing(self, user: UserId, chat_id: ChatId) -> Iterator[None]:
        """While the chat is renamed or deleted, which may go wrong and yet have happened."""
        try:
            yield
        finally:
            self._changes += 1
            self._chats.pop((user, chat_id), None)
            self.changes(user, chat_id)
