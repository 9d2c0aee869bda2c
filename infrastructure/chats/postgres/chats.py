"""Chats and messages in PostgreSQL.

An answer stands behind its own question, also when another question was asked before it came:
messages are ordered by turn.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sluice.domain.chat import Chat, ChatId, Job, JobId, JobStatus, Message, UserId, new_id
from sluice.domain.errors import NotFound
from sluice.domain.graph_state import Head
from sluice.domain.outcome import JobOutcome
from sluice.infrastructure.chats.postgres.heads import keep_deleted_threads, move_head
from sluice.infrastructure.postgres.database import Connection, PostgresDatabase
from sluice.infrastructure.postgres.outcomes import write_outcome

_CHAT = "SELECT id, user_id, title, created_at FROM chats"


class PostgresChats:
    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def open(self, chat: Chat) -> Chat:
        async def work(db: Connection) -> Chat:
            await _open(db, chat)
            return await _chat(db, chat.user, chat.id)

        return await self._database.run(work)

    async def chat(self, user: UserId, chat_id: ChatId) -> Chat:
        return await self._database.run(lambda db: _chat(db, user, chat_id))

    async def chats(
        self, user: UserId, *, limit: int, before: tuple[datetime, ChatId] | None
    ) -> Sequence[Chat]:
        created_at, chat_id = before or (datetime.max.replace(tzinfo=UTC), "")
        query = f"""{_CHAT} WHERE user_id = %s AND (created_at, id) < (%s, %s)
            ORDER BY created_at DESC, id DESC LIMIT %s"""

        async def work(db: Connection) -> list[tuple[Any, ...]]:
            found = await db.execute(query, (user.encode(), created_at, chat_id.encode(), limit))
            return await found.fetchall()

        return [_chat_of(row) for row in await self._database.run(work)]

    async def rename(self, user: UserId, chat_id: ChatId, title: str | None) -> None:
        async def work(db: Connection) -> int:
            update = "UPDATE chats SET title = %s WHERE user_id = %s AND id = %s"
            new = None if title is None else title.encode()
            return (await db.execute(update, (new, user.encode(), chat_id.encode()))).rowcount

        if not await self._database.run(work):
            raise NotFound(chat_id)

    async def delete(self, user: UserId, chat_id: ChatId) -> None:
        async def work(db: Connection) -> int:
            whose = user.encode(), chat_id.encode()
            # What it is bound to is gone, and its fingerprint is a hash of the text.
            await db.execute("DELETE FROM claims WHERE user_id = %s AND chat_id = %s", whose)
            await db.execute("DELETE FROM sessions WHERE user_id = %s AND chat_id = %s", whose)
            await keep_deleted_threads(db, whose)
            await db.execute("DELETE FROM pauses WHERE user_id = %s AND chat_id = %s", whose)
            gone = await db.execute("DELETE FROM chats WHERE user_id = %s AND id = %s", whose)
            return gone.rowcount

        if not await self._database.run(work):
            raise NotFound(chat_id)

    async def messages(self, user: UserId, chat_id: ChatId) -> Sequence[Message]:
        async def work(db: Connection) -> list[tuple[Any, ...]]:
            found = await db.execute(
                "SELECT id, role, content, job_id, status, created_at FROM messages"
                " WHERE chat = %s ORDER BY turn, key",
                (await _key(db, user, chat_id),),
            )
            return await found.fetchall()

        rows = await self._database.run(work)
        return [
            Message(message_id, role, content.decode(), job_id, status, at.astimezone(UTC))
            for message_id, role, content, job_id, status, at in rows
        ]

    async def add_question(
        self, job: Job, message_id: str | None = None, opens: Chat | None = None
    ) -> None:
        async def work(db: Connection) -> None:
            if opens is not None:
                await _open(db, opens)
            await _ask(db, job, message_id or new_id())

        await self._database.run(work)

    async def remove_question(self, job: Job) -> None:
        await self._database.run(lambda db: _unask(db, job))

    async def keep_answer(
        self,
        job: Job,
        answer: str,
        status: JobStatus,
        attempt: int,
        outcome: JobOutcome | None = None,
        head: Head | None = None,
    ) -> None:
        """Outlasts an outage: the job's end is told only afterwards."""

        async def work(db: Connection) -> None:
            # It locks the row: of two attempts at once, the later one has the last word.
            found = await db.execute(
                "UPDATE turns SET attempt = %s, ended = TRUE, ended_on = clock_timestamp()"
                " WHERE job_id = %s AND attempt <= %s RETURNING chat, turn",
                (attempt, job.id, attempt),
            )
            for chat, turn in await found.fetchall():
                if answer:
                    await _say(db, job, chat, turn, "assistant", answer, status, new_id())
                else:
                    unsay = "DELETE FROM messages WHERE job_id = %s AND role = 'assistant'"
                    await db.execute(unsay, [job.id])
                await move_head(db, job.id, chat, turn, head)
            if outcome is not None:
                await write_outcome(db, outcome, job.targeting_key)

        await self._database.persist(work)

    async def has_ended(self, job_id: JobId) -> bool:
        async def work(db: Connection) -> bool:
            found = await db.execute("SELECT FROM turns WHERE job_id = %s AND ended", [job_id])
            return found.rowcount > 0

        return await self._database.run(work)


async def _chat(db: Connection, user: UserId, chat_id: ChatId) -> Chat:
    found = await db.execute(
        f"{_CHAT} WHERE user_id = %s AND id = %s", (user.encode(), chat_id.encode())
    )
    if (row := await found.fetchone()) is None:
        raise NotFound(chat_id)
    return _chat_of(row)


def _chat_of(row: tuple[Any, ...]) -> Chat:
    chat_id, user, title, created_at = row
    name = None if title is None else title.decode()
    return Chat(chat_id.decode(), user.decode(), name, created_at.astimezone(UTC))


async def _key(db: Connection, user: UserId, chat_id: ChatId) -> int:
    found = await db.execute(
        "SELECT key FROM chats WHERE user_id = %s AND id = %s", (user.encode(), chat_id.encode())
    )
    if (row := await found.fetchone()) is None:
        raise NotFound(chat_id)
    key: int = row[0]
    return key


async def _turn(db: Connection, job_id: str) -> tuple[int, int] | None:
    """The chat's key and the turn of a job's question."""
    found = await db.execute("SELECT chat, turn FROM turns WHERE job_id = %s", [job_id])
    row = await found.fetchone()
    return None if row is None else (row[0], row[1])


async def _open(db: Connection, chat: Chat) -> None:
    title = None if chat.title is None else chat.title.encode()
    await db.execute(
        "INSERT INTO chats (user_id, id, title, created_at) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (chat.user.encode(), chat.id.encode(), title, chat.created_at),
    )


async def _ask(db: Connection, job: Job, message_id: str) -> None:
    """A retried question is not repeated: it becomes the new job's."""
    chat = await _key(db, job.user, job.chat_id)
    # Questions of a chat that are asked at once take turns.
    if not (await db.execute("SELECT FROM chats WHERE key = %s FOR UPDATE", [chat])).rowcount:
        raise NotFound(job.chat_id)  # it was deleted since
    if await _turn(db, job.id) is not None:
        again = "UPDATE turns SET attempt = 1 WHERE job_id = %s AND attempt > 1"
        await db.execute(again, [job.id])
        return
    retried = None if job.retry_of is None else await _turn(db, job.retry_of)
    if retried is not None and retried[0] == chat:
        turn = retried[1]
        await db.execute(
            "UPDATE messages SET job_id = %s WHERE chat = %s AND turn = %s AND role = 'user'",
            (job.id, chat, turn),
        )
    else:
        found = await db.execute("SELECT max(turn) FROM messages WHERE chat = %s", [chat])
        last = await found.fetchone()
        turn = ((last and last[0]) or 0) + 1
        await _say(db, job, chat, turn, "user", job.message, "completed", message_id)
    await db.execute("INSERT INTO turns VALUES (%s, %s, %s)", (job.id, chat, turn))


async def _unask(db: Connection, job: Job) -> None:
    await db.execute("DELETE FROM turns WHERE job_id = %s", [job.id])
    if job.retry_of is not None and await _turn(db, job.retry_of) is not None:
        back = "UPDATE messages SET job_id = %s WHERE job_id = %s AND role = 'user'"
        await db.execute(back, (job.retry_of, job.id))
    else:
        await db.execute("DELETE FROM messages WHERE job_id = %s AND role = 'user'", [job.id])


async def _say(
    db: Connection,
    job: Job,
    chat: int,
    turn: int,
    role: str,
    content: str,
    status: JobStatus,
    message_id: str,
) -> None:
    await db.execute(
        "INSERT INTO messages (chat, turn, id, role, content, job_id, status)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (job_id, role)"
        " DO UPDATE SET content = excluded.content, status = excluded.status",
        (chat, turn, message_id, role, content.encode(), job.id, status),
    )
