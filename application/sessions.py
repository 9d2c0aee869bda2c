"""Chats and runs under the names that clients of other protocols give them, within a user."""

from contextlib import suppress
from hashlib import sha256

from sluice.application.chat_ports import IdempotencyPort, SessionPort
from sluice.application.chats import ChatView, ShowChat
from sluice.application.compact_json import compact
from sluice.application.follow import owned
from sluice.application.ports import Accepted, EventLogPort, JobQueuePort
from sluice.domain.chat import Job, UserId
from sluice.domain.errors import Conflict, NotFound


def run_key(session: str | None, run_id: str) -> str:
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

    async def job(self, user: UserId, run_id: str, session: str | None = None) -> Job:
        """Of a run, by the client's id or by ours; without a session by the first of that id.

        Raises NotFound, also for one whose job was not taken yet.
        """
        bound = await self._keys.find(user, run_key(session, run_id))
        return await owned(self._log, user, bound.job_id if bound else run_id)

    async def name_run(self, user: UserId, run_id: str, job: Accepted) -> None:
        """Lets it be found without its session; of several of one id it is the first."""
        with suppress(Conflict):
            await self._keys.claim(user, run_key(None, run_id), job.job_id, job)

    async def stop(self, user: UserId, session: str) -> None:
        """Cancels whatever is being answered, or waits to be, in the chat. Raises NotFound."""
        view = await self.chat(user, session)
        # The last first: else the queue would begin each one when the one before it ends.
        for job in reversed(await self._log.unfinished(view.chat.id)):
            await self._queue.cancel(job.id, "user")
