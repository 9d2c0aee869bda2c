"""Taking a question: the path is decided here, once, and nothing is half-accepted."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256

from sluice.application.chat_ports import ChatPort, IdempotencyPort, SessionPort
from sluice.application.compact_json import compact
from sluice.application.follow import owned
from sluice.application.keep_end import GIVEN_UP
from sluice.application.ports import (
    Accepted,
    EventLogPort,
    FlagPort,
    JobQueuePort,
    ReadersPort,
    nothing,
)
from sluice.domain.chat import (
    Chat,
    ChatId,
    ExecutionPath,
    Job,
    JobId,
    Turn,
    UserId,
    new_id,
    now,
)
from sluice.domain.errors import Abandoned, Finished, NotFound, Superseded, Unavailable
from sluice.domain.events import QUEUED, Json


@dataclass(frozen=True, slots=True)
class NewMessage:
    """Either `message` or `retry_of`; without `chat_id` a chat is made.

    `session` instead names the chat that was made when it was first used. With a `history` no
    chat is read, made or added to. `message_id` is the client's own for the question. `sticky` is
    what a share of the rollout is drawn by; None draws it per chat.
    `path` is what the request chose.
    """

    user: UserId
    request_id: str
    chat_id: ChatId | None = None
    session: str | None = None
    history: tuple[Turn, ...] | None = None
    message: str | None = None
    message_id: str | None = None
    retry_of: JobId | None = None
    model: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)
    idempotency_key: str | None = None
    sticky: str | None = None
    path: ExecutionPath | None = None

    def fingerprint(self) -> str:
        asked = [self.chat_id, self.session, self.message, self.retry_of, self.model]
        if self.history is not None:
            asked += [text for turn in self.history for text in (turn.role, turn.content)]
        return sha256(compact([*asked, self.metadata]).encode()).hexdigest()


class SubmitMessage:
    def __init__(
        self,
        chats: ChatPort,
        sessions: SessionPort,
        keys: IdempotencyPort,
        log: EventLogPort,
        queue: JobQueuePort,
        flag: FlagPort,
        readers: ReadersPort,
    ) -> None:
        self._chats, self._sessions, self._keys = chats, sessions, keys
        self._log, self._queue = log, queue
        self._flag, self._readers = flag, readers

    async def __call__(self, new: NewMessage) -> Accepted:
        """The job's first event is in the log when this returns.

        Raises NotFound, Conflict, LimitReached and Unavailable; then there is no job, but for a
        store that went away at the last step. A key is bound to its job, whoever asks for it and as
        often as it is refused, until that job is given up.
        """
        if new.chat_id is not None:
            await self._chats.chat(new.user, new.chat_id)
        while True:
            job = await self._bound(new)
            try:
                if new.idempotency_key is None or not await self._exists(job):
                    await self._take(job, new)
            except Abandoned:
                await self._bury(job, new)
            else:
                await self._log.settle(job.id)
                return Accepted(job.id, job.chat_id, job.path)

    async def _bound(self, new: NewMessage) -> Job:
        """The job that the request's key is bound to, or a new one."""
        chat_id = new.chat_id or new_id()
        if new.session is not None:
            chat_id = await self._sessions.session(new.user, new.session, chat_id)
        decision = await self._flag.decide(new.sticky or chat_id, new.path)
        flag = replace(decision.flag, by_chat=new.sticky is None)
        accepted = Accepted(new_id(), chat_id, decision.path, flag)
        if new.idempotency_key is not None:
            accepted = await self._keys.claim(
                new.user, new.idempotency_key, new.fingerprint(), accepted
            )
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
            history=new.history,
            flag=accepted.flag,
        )

    async def _take(self, job: Job, new: NewMessage) -> None:
        """Every step may be repeated: equal requests that race take the same job."""
        if job.retry_of is not None:
            job = await self._again(job, job.retry_of)
        await self._queue.submit(job, lambda: self._record(job, new), lambda: self._undo(job))
        self._readers.submitted(job.id)

    async def _record(self, job: Job, new: NewMessage) -> None:
        begins = self._queue.runs_at_once(job.id)
        if job.history is not None:
            await self._log.create(job, QUEUED, begins=begins)
            return
        opens = None
        if new.chat_id is None:
            title = " ".join(job.message.split())[:80]
            opens = Chat(job.chat_id, job.user, title, now())
        await self._chats.add_question(job, new.message_id, opens)
        await self._log.create(job, QUEUED, begins=begins)
        try:
            with suppress(Unavailable):  # then it is not known, and the job is taken
                await self._chats.chat(job.user, job.chat_id)
        except NotFound:  # it was deleted meanwhile, and its logs before this one was there
            await self._log.delete(job.chat_id)
            raise

    async def _undo(self, job: Job) -> None:
        """Not for who comes late: an equal request may have had its answer before."""
        if not await self._over(job):
            await self._chats.remove_question(job)

    async def _bury(self, job: Job, new: NewMessage) -> None:
        """What was recorded of a job that nobody was told of is taken back, and its key freed."""
        if await self._over(job):
            return
        with suppress(NotFound, Finished, Superseded):
            await (await self._log.begin(job.id)).end(GIVEN_UP)
        await self._chats.remove_question(job)
        if new.idempotency_key is not None:
            await self._keys.release(new.user, new.idempotency_key, job.id)

    async def _again(self, job: Job, job_id: JobId) -> Job:
        """With the earlier job's question; its model and metadata unless others are given."""
        earlier = await owned(self._log, job.user, job_id)
        if earlier.chat_id != job.chat_id:
            raise NotFound(job_id)
        return replace(
            job,
            message=earlier.message,
            model=job.model or earlier.model,
            metadata=job.metadata or earlier.metadata,
        )

    async def _exists(self, job: Job) -> bool:
        """Lets it run if it is not over: whoever recorded it may have died before that."""
        if await self._over(job):
            return True
        try:
            recorded = await self._log.job(job.id)
        except NotFound:
            return False
        await self._queue.submit(recorded, nothing)
        return True

    async def _over(self, job: Job) -> bool:
        """It has an end that somebody may have been told of."""
        try:
            log = await self._log.read(job.id)
        except NotFound:  # a key outlives its job's log
            return await self._chats.has_ended(job.id)
        return log.ended_at is not None and log.events[-1].event != GIVEN_UP
