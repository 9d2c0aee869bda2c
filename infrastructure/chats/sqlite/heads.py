"""Where each chat's graph stands, in SQLite, in the rows of its chat and of its turns."""

import sqlite3
from collections.abc import Collection
from datetime import datetime

from sluice.domain.chat import Job, micros, new_id
from sluice.domain.errors import NotFound
from sluice.domain.graph_state import ROOT, Head
from sluice.infrastructure.sqlite.database import SqliteDatabase


class SqliteHeads:
    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def begin(self, job: Job) -> Head:
        return await self._database.write(lambda db: _begin(db, job), durable=False)

    async def in_use(self, job: Job, since: datetime) -> Collection[str]:
        def work(db: sqlite3.Connection) -> Collection[str]:
            query = """SELECT chats.head FROM turns JOIN chats ON chats.key = turns.chat
                    WHERE turns.job_id = :job
                UNION SELECT other.began_at FROM turns JOIN turns AS other USING (chat)
                    WHERE turns.job_id = :job
                    AND (other.ended_on IS NULL OR other.ended_on >= :since)"""
            rows = db.execute(query, {"job": job.id, "since": micros(since)}).fetchall()
            return {checkpoint or ROOT for (checkpoint,) in rows}

        return await self._database.read(work)

    async def leave(self, thread_id: str) -> None:
        insert = "INSERT OR IGNORE INTO deleted_threads VALUES (?)"
        await self._database.write(lambda db: db.execute(insert, (thread_id,)), durable=False)

    async def deleted(self) -> Collection[str]:
        query = "SELECT thread FROM deleted_threads"
        return await self._database.read(lambda db: [row[0] for row in db.execute(query)])

    async def forgotten(self, thread_id: str) -> None:
        delete = "DELETE FROM deleted_threads WHERE thread = ?"
        await self._database.write(lambda db: db.execute(delete, (thread_id,)), durable=False)


def _begin(db: sqlite3.Connection, job: Job) -> Head:
    query = """SELECT chats.key, turns.turn, thread, head
        FROM turns JOIN chats ON chats.key = turns.chat WHERE job_id = ?"""
    row = db.execute(query, (job.id,)).fetchone()
    if row is None:
        raise NotFound(job.id)
    chat, turn, thread, head = row
    if thread is None:
        thread = new_id()
        db.execute("UPDATE chats SET thread = ? WHERE key = ?", (thread, chat))
    # A retry of what never began does so before whatever was asked later.
    earlier = """SELECT began_at FROM turns WHERE chat = ? AND turn >= ? AND began_at IS NOT NULL
        ORDER BY turn LIMIT 1"""
    began = db.execute(earlier, (chat, turn)).fetchone()
    checkpoint = began[0] if began else head or ROOT
    db.execute("UPDATE turns SET began_at = ? WHERE job_id = ?", (checkpoint, job.id))
    return Head(thread, checkpoint)


def move_head(db: sqlite3.Connection, job_id: str, chat: int, turn: int, head: Head | None) -> None:
    """As `keep_answer` has it, in its transaction."""
    if head is not None:
        move = """UPDATE chats SET head = ?, head_turn = ?, head_job = ?
            WHERE key = ? AND thread = ? AND head_turn <= ?"""
        db.execute(move, (head.checkpoint_id, turn, job_id, chat, head.thread_id, turn))
    else:
        back = """UPDATE chats SET head_turn = ? - 1, head_job = NULL,
            head = (SELECT began_at FROM turns WHERE job_id = ?) WHERE key = ? AND head_job = ?"""
        db.execute(back, (turn, job_id, chat, job_id))


def keep_deleted_threads(db: sqlite3.Connection, user: str, chat_id: str) -> None:
    """What the chat's graph knew, and its jobs that asked, is elsewhere, and forgotten next."""
    insert = """INSERT OR IGNORE INTO deleted_threads
        SELECT thread FROM chats WHERE user = :user AND id = :chat AND thread IS NOT NULL
        UNION SELECT job_id FROM pauses WHERE user = :user AND chat_id = :chat"""
    db.execute(insert, {"user": user, "chat": chat_id})
