"""Chats in this process, for `memory://`: in SQL they would be a twelfth of what an answer costs.

What is bound to them is in the database beside them, and no graph keeps a state there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import islice

from sluice.domain.chat import Chat, ChatId, Job, JobId, JobStatus, Message, UserId, new_id, now
from sluice.domain.errors import NotFound
from sluice.domain.graph_state import Head
from sluice.domain.outcome import JobOutcome
from sluice.infrastructure.chats.sqlite.chats import unbind
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.infrastructure.sqlite.outcomes import write_outcome


@dataclass(slots=True, eq=False)
class _Turn:
    """A question with its answers: a retried question has several jobs."""

    question: Message
    answers: dict[JobId, Message] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Kept:
    chat: Chat
    turns: list[_Turn] = field(default_factory=list)
    jobs: list[JobId] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Asked:
    """A job's place. `attempt` is the last that has kept an answer."""

    kept: _Kept
    turn: _Turn
    attempt: int = 1
    ended: bool = False


class MemoryChats:
    """`database` holds what is bound to chats and jobs: keys, names and outcomes."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._chats: dict[UserId, dict[ChatId, _Kept]] = {}
        self._asked: dict[JobId, _Asked] = {}

    async def open(self, chat: Chat) -> Chat:
        return self._open(chat).chat

    async def chat(self, user: UserId, chat_id: ChatId) -> Chat:
        return self._kept(user, chat_id).chat

    async def chats(
        self, user: UserId, *, limit: int, before: tuple[datetime, ChatId] | None
    ) -> Sequence[Chat]:
        own = (kept.chat for kept in self._chats.get(user, {}).values())
        newest = sorted(own, key=_age, reverse=True)
        older = (chat for chat in newest if before is None or _age(chat) < before)
        return list(islice(older, limit))

    async def rename(self, user: UserId, chat_id: ChatId, title: str | None) -> None:
        kept = self._kept(user, chat_id)
        kept.chat = replace(kept.chat, title=title)

    async def delete(self, user: UserId, chat_id: ChatId) -> None:
        kept = self._kept(user, chat_id)
        await self._database.write(partial(unbind, user=user, chat_id=chat_id))
        self._chats[user].pop(chat_id, None)
        for job_id in kept.jobs:
            self._asked.pop(job_id, None)

    async def messages(self, user: UserId, chat_id: ChatId) -> Sequence[Message]:
        found: list[Message] = []
        for turn in self._kept(user, chat_id).turns:
            found += turn.question, *turn.answers.values()
        return found

    async def add_question(
        self, job: Job, message_id: str | None = None, opens: Chat | None = None
    ) -> None:
        kept = self._kept(job.user, job.chat_id) if opens is None else self._open(opens)
        if (known := self._asked.get(job.id)) is not None:
            known.attempt = 1
            return
        retried = self._asked.get(job.retry_of) if job.retry_of else None
        if retried is not None and retried.kept is kept:
            turn = retried.turn
            turn.question = replace(turn.question, job_id=job.id)
        else:
            own = message_id or new_id()
            turn = _Turn(Message(own, "user", job.message, job.id, "completed", now()))
            kept.turns.append(turn)
        kept.jobs.append(job.id)
        self._asked[job.id] = _Asked(kept, turn)

    async def remove_question(self, job: Job) -> None:
        asked = self._asked.pop(job.id, None)
        if asked is None or asked.turn.question.job_id != job.id:
            return
        if job.retry_of and job.retry_of in self._asked:
            asked.turn.question = replace(asked.turn.question, job_id=job.retry_of)
        else:
            asked.kept.turns.remove(asked.turn)

    async def keep_answer(
        self,
        job: Job,
        answer: str,
        status: JobStatus,
        attempt: int,
        outcome: JobOutcome | None = None,
        head: Head | None = None,
    ) -> None:
        if outcome is not None:
            write = partial(write_outcome, outcome=outcome, targeting_key=job.targeting_key)
            await self._database.persist(write)
        asked = self._asked.get(job.id)
        if asked is None or asked.attempt > attempt:
            return
        asked.attempt, asked.ended = attempt, True
        answers = asked.turn.answers
        if not answer:
            answers.pop(job.id, None)
        elif (before := answers.get(job.id)) is not None:
            answers[job.id] = replace(before, content=answer, status=status)
        else:
            answers[job.id] = Message(new_id(), "assistant", answer, job.id, status, now())

    async def has_ended(self, job_id: JobId) -> bool:
        asked = self._asked.get(job_id)
        return asked is not None and asked.ended

    def _open(self, chat: Chat) -> _Kept:
        own = self._chats.setdefault(chat.user, {})
        return own.get(chat.id) or own.setdefault(chat.id, _Kept(chat))

    def _kept(self, user: UserId, chat_id: ChatId) -> _Kept:
        """Raises NotFound."""
        kept = self._chats.get(user, {}).get(chat_id)
        if kept is None:
            raise NotFound(chat_id)
        return kept


def _age(chat: Chat) -> tuple[datetime, ChatId]:
    return chat.created_at, chat.id
