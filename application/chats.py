"""Chats as a user sees them, and their deletion, which leaves nothing behind."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from sluice.application.chat_ports import ChatPort
from sluice.application.graph_states import ForgetThreads
from sluice.application.ports import EventLogPort, JobQueuePort
from sluice.domain.chat import Chat, ChatId, Job, JobId, Message, UserId
from sluice.domain.errors import NotFound

_END_TIMEOUT_SECONDS = 5
"""Seconds that a deletion waits for a cancelled job to tell its readers."""


@dataclass(frozen=True, slots=True)
class ChatView:
    chat: Chat
    active_job_id: JobId | None
    messages: Sequence[Message]


class ShowChat:
    """`active_job_id` is the job that a page should read: the oldest one not over yet."""

    def __init__(self, chats: ChatPort, log: EventLogPort) -> None:
        self._chats, self._log = chats, log

    async def __call__(self, user: UserId, chat_id: ChatId) -> ChatView:
        chat = await self._chats.chat(user, chat_id)
        # First what runs, then the messages: a job that ends in between is in both, not in none.
        running = await self._log.unfinished(chat_id)
        messages = await self._chats.messages(user, chat_id)
        return ChatView(chat, running[0].id if running else None, messages)


class DeleteChat:
    """Cancels the chat's jobs, lets them tell their readers, then forgets every text."""

    def __init__(
        self,
        chats: ChatPort,
        log: EventLogPort,
        queue: JobQueuePort,
        forget_threads: ForgetThreads | None = None,
    ) -> None:
        self._chats, self._log, self._queue = chats, log, queue
        self._forget_threads = forget_threads

    async def __call__(self, user: UserId, chat_id: ChatId) -> None:
        await self._chats.chat(user, chat_id)
        running = await self._log.unfinished(chat_id)
        await asyncio.gather(*(self._queue.cancel(job.id, "user") for job in running))
        await asyncio.gather(*(self._over(job) for job in running))
        await self._log.delete(chat_id)
        await self._chats.delete(user, chat_id)
        await self._log.delete(chat_id)  # of a question that was being taken in between
        if self._forget_threads is not None:
            await self._forget_threads()

    async def _over(self, job: Job) -> None:
        try:
            async with asyncio.timeout(_END_TIMEOUT_SECONDS):
                batches = await self._log.follow(job.id, after=None)
                async with aclosing(batches):
                    async for _ in batches:
                        pass
        except (TimeoutError, NotFound):
            return
