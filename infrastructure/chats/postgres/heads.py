"""Where each chat's graph stands, in PostgreSQL, in the rows of its chat and of its turns."""

from collections.abc import Collection
from datetime import datetime

from sluice.domain.chat import Job, new_id
from sluice.domain.errors import NotFound
from sluice.domain.graph_state import ROOT, Head
from sluice.infrastructure.postgres.database import Connection, PostgresDatabase


class PostgresHeads:
    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def begin(self, job: Job) -> Head:
        return await self._database.run(lambda db: _begin(db, job))

    async def in_use(self, job: Job, since: datetime) -> Collection[str]:
        async def work(db: Connection) -> Collection[str]:
            query = """SELECT chats.head FROM turns JOIN chats ON chats.key = turns.chat
                    WHERE turns.job_id = %(job)s
                UNION SELECT other.began_at FROM turns JOIN turns AS other USING (chat)
                    WHERE turns.job_id = %(job)s
                    AND (other.ended_on IS NULL OR other.ended_on >= %(since)s)"""
            found = await db.execute(query, {"job": job.id, "since": since})
            return {checkpoint or ROOT for (checkpoint,) in await found.fetchall()}

        return await self._database.run(work)

    async def leave(self, thread_id: str) -> None:
        insert = "INSERT INTO deleted_threads VALUES (%s) ON CONFLICT DO NOTHING"
        await self._database.run(lambda db: db.execute(insert, [thread_id]))

    async def deleted(self) -> Collection[str]:
        async def work(db: Connection) -> Collection[str]:
            found = await db.execute("SELECT thread FROM deleted_threads")
            return [row[0] for row in await found.fetchall()]

        return await self._database.run(work)

    async def forgotten(self, thread_id: str) -> None:
        delete = "DELETE FROM deleted_threads WHERE thread = %s"
        await self._database.run(lambda db: db.execute(delete, [thread_id]))


async def _begin(db: Connection, job: Job) -> Head:
    query = """SELECT chats.key, turns.turn, thread, head
        FROM turns JOIN chats ON chats.key = turns.chat WHERE job_id = %s FOR UPDATE"""
    row = await (await db.execute(query, [job.id])).fetchone()
    if row is None:
        raise NotFound(job.id)
    chat, turn, thread, head = row
    if thread is None:
        thread = new_id()
        await db.execute("UPDATE chats SET thread = %s WHERE key = %s", (thread, chat))
    # A retry of what never began does so before whatever was asked later.
    earlier = """SELECT began_at FROM turns WHERE chat = %s AND turn >= %s
        AND began_at IS NOT NULL ORDER BY turn LIMIT 1"""
    began = await (await db.execute(earlier, (chat, turn))).fetchone()
    checkpoint = began[0] if began else head or ROOT
    await db.execute("UPDATE turns SET began_at = %s WHERE job_id = %s", (checkpoint, job.id))
    return Head(thread, checkpoint)


async def move_head(db: Connection, job_id: str, chat: int, turn: int, head: Head | None) -> None:
    """As `keep_answer` has it, in its transaction."""
    if head is not None:
        move = """UPDATE chats SET head = %s, head_turn = %s, head_job = %s
            WHERE key = %s AND thread = %s AND head_turn <= %s"""
        await db.execute(move, (head.checkpoint_id, turn, job_id, chat, head.thread_id, turn))
    else:
        back = """UPDATE chats SET head_turn = %s - 1, head_job = NULL,
            head = (SELECT began_at FROM turns WHERE job_id = %s)
            WHERE key = %s AND head_job = %s"""
        await db.execute(back, (turn, job_id, chat, job_id))


async def keep_deleted_threads(db: Connection, whose: tuple[bytes, bytes]) -> None:
    """What the chat's graph knew, and its jobs that asked, is elsewhere, and forgotten next."""
    insert = """INSERT INTO deleted_threads
        SELECT thread FROM chats WHERE user_id = %s AND id = %s AND thread IS NOT NULL
        UNION SELECT job_id FROM pauses WHERE user_id = %s AND chat_id = %s
        ON CONFLICT DO NOTHING"""
    await db.execute(insert, whose * 2)
