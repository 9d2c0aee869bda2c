"""The chats last asked for, as they stand: each question asks twice whether its chat is there.

Nobody else writes them, in this process or in another, which could not open the file.
"""

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager

from sluice.domain.chat import Chat, ChatId, UserId

_MOST = 4096


class KnownChats:
    def __init__(self) -> None:
        self._chats: dict[tuple[UserId, ChatId], Chat] = {}
        self._changes = 0
        """Renamed or deleted: what was read before that may be no more."""

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

    @contextmanager
    def changing(self, user: UserId, chat_id: ChatId) -> Iterator[None]:
        """While the chat is renamed or deleted, which may go wrong and yet have happened."""
        try:
            yield
        finally:
            self._changes += 1
            self._chats.pop((user, chat_id), None)
