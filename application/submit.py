"""Taking a question: the path is decided here, once, and nothing is half-accepted."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from weakref import WeakValueDictionary

from application.follow import owned
from application.ports import (
    Accepted,
    ConversationPort,
    EventLogPort,
    FlagPort,
    JobQueuePort,
    OrphansPort,
    nothing,
)
from application.process_chat import QUEUED
from application.wire import compact
from domain.chat import Chat, ChatId, Job, JobId, UserId, new_id, now
from domain.errors import Abandoned, Finished, NotFound, Superseded
from domain.events import Cancelled, Json


@dataclass(frozen=True, slots=True)
class NewMessage:
    """Either `message` or `retry_of`; without `chat_id` a chat is made.

    `session`: the chat may be made under the id that was given. `sticky` is what a share of
    the rollout is drawn by; None draws it per chat.
    """

    user: UserId
    request_id: str
    chat_id: ChatId | None = None
    session: bool = False
    message: str | None = None
    retry_of: JobId | None = None
    model: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)
    idempotency_key: str | None = None
    sticky: str | None = None

    def fingerprint(self) -> str:
        asked = [self.chat_id, self.session, self.message, self.retry_of, self.model]
        return sha256(compact([*asked, self.metadata]).encode()).hexdigest()


class SubmitMessage:
    def __init__(
        self,
        conversations: ConversationPort,
        log: EventLogPort,
        queue: JobQueuePort,
        flag: FlagPort,
        orphans: OrphansPort,
    ) -> None:
        self._conversations, self._log, self._queue = conversations, log, queue
        self._flag, self._orphans = flag, orphans
        self._keys: WeakValueDictionary[tuple[UserId, str], asyncio.Lock] = WeakValueDictionary()

    async def __call__(self, new: NewMessage) -> Accepted:
        """The job's first event is in the log when this returns.

        Raises NotFound, Conflict, Busy and Unavailable; then there is no job, but for a store
        that went away at the last step. A key is bound to its job, whoever asks for it and as
        often as it is refused, until that job is given up.
        """
        if new.idempotency_key is None:
            return await self._submit(new)
        # One after the other, since what one does an equal one need only find.
        key = self._keys.setdefault((new.user, new.idempotency_key), asyncio.Lock())
        async with key:
            return await self._submit(new)

    async def _submit(self, new: NewMessage) -> Accepted:
        if new.chat_id is not None and not new.session:
            await self._conversations.chat(new.user, new.chat_id)
        while True:
            accepted = await self._bound(new)
            try:
                if new.idempotency_key is None or not await self._exists(new.user, accepted):
                    await self._take(accepted, new)
            except Abandoned:
                await self._bury(_job(accepted, new), new)
            else:
                return accepted

    async def _bound(self, new: NewMessage) -> Accepted:
        """What the request's key is bound to, or something new."""
        chat_id = new.chat_id or new_id()
        path = await self._flag.path(new.sticky or chat_id)
        accepted = Accepted(new_id(), chat_id, path)
        if new.idempotency_key is None:
            return accepted
        return await self._conversations.claim(
            new.user, new.idempotency_key, new.fingerprint(), accepted
        )

    async def _take(self, accepted: Accepted, new: NewMessage) -> None:
        """Every step may be repeated: equal requests that race take the same job."""
        if new.retry_of is not None:
            new = await self._again(new, new.retry_of)
        job = _job(accepted, new)
        await self._queue.submit(
            job, lambda: self._record(job, new), lambda: self._conversations.unasked(job)
        )
        self._orphans.submitted(job.id)

    async def _record(self, job: Job, new: NewMessage) -> None:
        if new.chat_id is None or new.session:
            title = " ".join(job.message.split())[:80]
            await self._conversations.open(Chat(job.chat_id, job.user, title, now()))
        await self._conversations.asked(job)
        await self._log.create(job, QUEUED)

    async def _bury(self, job: Job, new: NewMessage) -> None:
        """Nobody was told of the job: what was recorded of it is taken back, and its key freed."""
        with suppress(NotFound, Finished, Superseded):
            await (await self._log.begin(job.id)).end(Cancelled("orphaned"))
        await self._conversations.unasked(job)
        if new.idempotency_key is not None:
            await self._conversations.unclaim(new.user, new.idempotency_key, job.id)

    async def _again(self, new: NewMessage, job_id: JobId) -> NewMessage:
        """The earlier job's question, with its model and metadata unless others are given."""
        job = await owned(self._log, new.user, job_id)
        if job.chat_id != new.chat_id:
            raise NotFound(job_id)
        return replace(
            new,
            message=job.message,
            model=new.model or job.model,
            metadata=new.metadata or job.metadata,
        )

    async def _exists(self, user: UserId, accepted: Accepted) -> bool:
        """Lets it run if it is not over: whoever recorded it may have died before that.

        Raises Abandoned if it was given up; it may have come to its end as that.
        """
        try:
            log = await self._log.read(accepted.job_id)
        except NotFound:
            return await self._answered(user, accepted)
        if log.ended_at is None or log.events[-1].event == Cancelled("orphaned"):
            await self._queue.submit(log.job, nothing)
        return True

    async def _answered(self, user: UserId, accepted: Accepted) -> bool:
        """A key outlives its job's log: then the chat has the answer."""
        try:
            messages = await self._conversations.messages(user, accepted.chat_id)
        except NotFound:
            return False
        return any(kept.role == "assistant" and kept.job_id == accepted.job_id for kept in messages)


def _job(accepted: Accepted, new: NewMessage) -> Job:
    return Job(
        id=accepted.job_id,
        chat_id=accepted.chat_id,
        user=new.user,
        path=accepted.path,
        message=new.message or "",
        request_id=new.request_id,
        model=new.model,
        metadata=new.metadata,
        retry_of=new.retry_of,
    )
