"""Chats and messages in SQLite; over `:memory:` also a store for tests.

An answer stands behind its own question, also when another question was asked before it came:
messages are ordered by turn.
"""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sluice.domain.chat import (
    Chat,
    ChatId,
    Job,
    JobId,
    JobStatus,
    Message,
    UserId,
    micros,
    moment,
    now,
)
from sluice.domain.errors import NotFound
from sluice.domain.graph_state import Head
from sluice.domain.outcome import JobOutcome
from sluice.infrastructure.chats.sqlite.heads import keep_deleted_threads, move_head
from sluice.infrastructure.chats.sqlite.known_chats import KnownChats
from sluice.infrastructure.chats.sqlite.messages import ask, message_of, say, unask
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.infrastructure.sqlite.joint_writes import JointWrites
from sluice.infrastructure.sqlite.outcomes import write_outcome


class SqliteChats:
    """`joint` has them written with their jobs' logs, which are in the same database then."""

    def __init__(self, database: SqliteDatabase, joint: JointWrites | None = None) -> None:
        self._database, self._known, self._joint = database, KnownChats(), joint

    async def open(self, chat: Chat) -> Chat:
        """One without a title holds nothing of a user's: it is durable with its first question."""

        def work(db: sqlite3.Connection) -> Chat:
            return chat if _open(db, chat) else _chat(db, chat.user, chat.id)

        durable = chat.title is not None
        return await self._known.learn(self._database.write(work, durable=durable))

    async def chat(self, user: UserId, chat_id: ChatId) -> Chat:
        if (known := self._known.get(user, chat_id)) is not None:
            return known
        reading = self._database.read(lambda db: _chat(db, user, chat_id))
        return await self._known.learn(reading)

    async def chats(
        self, user: UserId, *, limit: int, before: tuple[datetime, ChatId] | None
    ) -> Sequence[Chat]:
        older = ""
        parameters: list[str | int] = [user]
        if before is not None:
            older = "AND (created_at, id) < (?, ?)"
            parameters += [micros(before[0]), before[1]]
        query = f"""SELECT id, user, title, created_at FROM chats WHERE user = ? {older}
            ORDER BY created_at DESC, id DESC LIMIT ?"""  # noqa: S608 - `older` is ours
        rows = await self._database.read(
            lambda db: db.execute(query, [*parameters, limit]).fetchall()
        )
        return [_chat_of(row) for row in rows]

    async def rename(self, user: UserId, chat_id: ChatId, title: str | None) -> None:
        def work(db: sqlite3.Connection) -> int:
            update = "UPDATE chats SET title = ? WHERE user = ? AND id = ?"
            return db.execute(update, (title, user, chat_id)).rowcount

        with self._known.changing(user, chat_id):
            if not await self._database.write(work):
                raise NotFound(chat_id)

    async def delete(self, user: UserId, chat_id: ChatId) -> None:
        def work(db: sqlite3.Connection) -> int:
            unbind(db, user, chat_id)
            delete = "DELETE FROM chats WHERE user = ? AND id = ?"
            return db.execute(delete, (user, chat_id)).rowcount

        with self._known.changing(user, chat_id):
            if not await self._database.write(work):
                raise NotFound(chat_id)
        await self._database.scrub()

    async def messages(self, user: UserId, chat_id: ChatId) -> Sequence[Message]:
        if (only := self._known.only(user, chat_id)) is not None:
            return [only]
        query = """SELECT m.id, role, content, job_id, status, m.created_at
            FROM chats LEFT JOIN messages AS m ON m.chat = chats.key
            WHERE user = ? AND chats.id = ? ORDER BY turn, m.key"""
        rows = await self._database.read(lambda db: db.execute(query, (user, chat_id)).fetchall())
        if not rows:
            raise NotFound(chat_id)
        return [
            Message(message_id, role, content, job_id, status, moment(created_at))
            for message_id, role, content, job_id, status, created_at in rows
            if message_id is not None  # a chat without messages is one row
        ]

    async def add_question(
        self, job: Job, message_id: str | None = None, opens: Chat | None = None
    ) -> None:
        """Durable with the job's log, which is created next."""
        message = message_of(job, "user", job.message, "completed", message_id)
        is_first = False

        def work(db: sqlite3.Connection) -> None:
            nonlocal is_first
            if opens is not None:
                _open(db, opens)
            is_first = ask(db, job, message)

        def committed() -> None:
            if is_first:
                self._known.has_asked(job, message)

        self._known.asks(job)
        if self._joint is None:
            await self._database.write(work, durable=False)
            committed()
        else:
            self._joint.with_creation(job.id, work, committed)

    async def remove_question(self, job: Job) -> None:
        self._known.changes(job.user, job.chat_id)
        await self._database.write(lambda db: unask(db, job))

    async def keep_answer(
        self,
        job: Job,
        answer: str,
        status: JobStatus,
        attempt: int,
        outcome: JobOutcome | None = None,
        head: Head | None = None,
    ) -> None:
        """Durable with the job's terminal event, which is written next. Outlasts an outage."""
        self._known.changes(job.user, job.chat_id)

        def work(db: sqlite3.Connection) -> None:
            query = "SELECT chat, turn, began_at FROM turns WHERE job_id = ? AND attempt <= ?"
            for chat, turn, began_at in db.execute(query, (job.id, attempt)).fetchall():
                db.execute(
                    "UPDATE turns SET attempt = ?, ended = TRUE, ended_on = ? WHERE job_id = ?",
                    (attempt, micros(now()), job.id),
                )
                if answer:
                    say(db, chat, turn, message_of(job, "assistant", answer, status))
                else:
                    unsay = "DELETE FROM messages WHERE job_id = ? AND role = 'assistant'"
                    db.execute(unsay, (job.id,))
                if began_at is not None:  # else its graph keeps no state
                    move_head(db, job.id, chat, turn, head)
            if outcome is not None:
                write_outcome(db, outcome, job.targeting_key)

        if self._joint is None or not self._joint.with_end(job.id, work):
            await self._database.persist(work, durable=False)

    async def has_ended(self, job_id: JobId) -> bool:
        query = "SELECT 1 FROM turns WHERE job_id = ? AND ended"
        found = await self._database.read(lambda db: db.execute(query, (job_id,)).fetchone())
        return found is not None


def unbind(db: sqlite3.Connection, user: UserId, chat_id: ChatId) -> None:
    """From a chat that is deleted."""
    # What it is bound to is gone, and its fingerprint is a hash of the text.
    db.execute("DELETE FROM claims WHERE user = ? AND chat_id = ?", (user, chat_id))
    db.execute("DELETE FROM sessions WHERE user = ? AND chat_id = ?", (user, chat_id))
    keep_deleted_threads(db, user, chat_id)
    db.execute("DELETE FROM pauses WHERE user = ? AND chat_id = ?", (user, chat_id))


def _chat(db: sqlite3.Connection, user: UserId, chat_id: ChatId) -> Chat:
    query = "SELECT id, user, title, created_at FROM chats WHERE user = ? AND id = ?"
    row = db.execute(query, (user, chat_id)).fetchone()
    if row is None:
        raise NotFound(chat_id)
    return _chat_of(row)


def _chat_of(row: tuple[Any, ...]) -> Chat:
    chat_id, user, title, created_at = row
    return Chat(chat_id, user, title, moment(created_at))


def _open(db: sqlite3.Connection, chat: Chat) -> bool:
    """False if it was there."""
    opened = db.execute(
        "INSERT INTO chats (user, id, title, created_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (chat.user, chat.id, chat.title, micros(chat.created_at)),
    )
    return bool(opened.rowcount)
