"""Chats and runs under the names that clients of other protocols give them, within a user."""

from hashlib import sha256

from sluice.application.chat_ports import IdempotencyPort, SessionPort
from sluice.application.chats import ChatView, ShowChat
from sluice.application.compact_json import compact
from sluice.application.ports import EventLogPort, JobQueuePort
from sluice.domain.chat import JobId, UserId
from sluice.domain.errors import NotFound


def run_key(session: str, run_id: str) -> str:
    """The idempotency key of a run whose id the client chose: an id is one within its session.

    A line break stands in it, which no key of the native routes can have.
    """
    return "\n" + sha256(compact([session, run_id]).encode()).hexdigest()


class Sessions:
    def __init__(
        self,
        sessions: SessionPort,
        keys: IdempotencyPort,
        show_chat: ShowChat,
        log: EventLogPort,
        queue: JobQueuePort,
    ) -> None:
        self._sessions, self._keys, self._show_chat = sessions, keys, show_chat
        self._log, self._queue = log, queue

    async def chat(self, user: UserId, session: str) -> ChatView:
        """Raises NotFound for a name that was never used, and makes nothing of it."""
        chat_id = await self._sessions.find(user, session)
        if chat_id is None:
            raise NotFound(session)
        return await self._show_chat(user, chat_id)

    async def job(self, user: UserId, session: str, run_id: str) -> JobId:
        """The job of a run by the client's id, or by ours. Raises NotFound."""
        bound = await self._keys.find(user, run_key(session, run_id))
        if bound is not None:
            return bound.job_id
        view = await self.chat(user, session)
        job = await self._log.job(run_id)
        if job.user != user or job.chat_id != view.chat.id:
            raise NotFound(run_id)
        return job.id

    async def stop(self, user: UserId, session: str) -> None:
        """Cancels whatever is being answered, or waits to be, in the chat. Raises NotFound."""
        view = await self.chat(user, session)
        # The last first: else the queue would begin each one when the one before it ends.
        for job in reversed(await self._log.unfinished(view.chat.id)):
            await self._queue.cancel(job.id, "user")
