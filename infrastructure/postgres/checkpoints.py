"""The checkpoints that graphs leave in PostgreSQL, in the schema of the chats.

The tables are LangGraph's, made by its saver when a graph first needs it; here is what no saver
does, and what a process without a graph may have to do.
"""

from collections.abc import Collection

from sluice.domain.chat import JobId
from sluice.domain.graph_state import ROOT
from sluice.infrastructure.postgres.database import Connection, PostgresDatabase

_TABLES = ("checkpoint_writes", "checkpoint_blobs", "checkpoints")

# A worker that was frozen behind a job's end may wake up while the chat's next job runs, whose
# checkpoints build on those that it would delete: they hold no value that an earlier one has. So
# no job may begin before it has looked and deleted, nor wait for it if it stops again.
_NO_LONGER = "SET LOCAL idle_in_transaction_session_timeout = '5s'"
_HOLD = """SELECT chats.key, chats.head FROM turns JOIN chats ON chats.key = turns.chat
    WHERE turns.job_id = %s FOR UPDATE OF chats"""
_BEGUN = """SELECT EXISTS (SELECT FROM turns
    WHERE chat = %s AND began_at IS NOT NULL AND ended_on IS NULL)"""

# Of a subgraph with a memory of its own the newest is kept: it goes on from that.
_OLD = """DELETE FROM checkpoints WHERE thread_id = %s AND CASE
    WHEN checkpoint_ns = '' THEN checkpoint_id <> ALL (%s)
    WHEN checkpoint_ns LIKE '%%:%%' THEN TRUE
    ELSE checkpoint_id < (SELECT max(checkpoint_id) FROM checkpoints AS newer
        WHERE newer.thread_id = checkpoints.thread_id
        AND newer.checkpoint_ns = checkpoints.checkpoint_ns) END"""
_WRITES = """DELETE FROM checkpoint_writes AS old WHERE thread_id = %s AND NOT EXISTS (SELECT
    FROM checkpoints AS kept WHERE kept.thread_id = old.thread_id
    AND kept.checkpoint_ns = old.checkpoint_ns AND kept.checkpoint_id = old.checkpoint_id)"""
_BLOBS = """DELETE FROM checkpoint_blobs AS old WHERE thread_id = %s AND NOT EXISTS (SELECT
    FROM checkpoints AS kept, jsonb_each_text(kept.checkpoint -> 'channel_versions') AS used
    WHERE kept.thread_id = old.thread_id AND kept.checkpoint_ns = old.checkpoint_ns
    AND used.key = old.channel AND used.value = old.version)"""


class PostgresCheckpoints:
    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def forget(self, thread_id: str) -> None:
        async def work(db: Connection) -> None:
            if await _has_tables(db):
                for table in _TABLES:
                    delete = f"DELETE FROM {table} WHERE thread_id = %s"  # noqa: S608 - ours
                    await db.execute(delete.encode(), [thread_id])

        await self._database.run(work)

    async def prune(self, thread_id: str, keep: Collection[str], job_id: JobId) -> None:
        async def work(db: Connection) -> None:
            await db.execute(_NO_LONGER)
            if await _has_tables(db) and not await _goes_on(db, keep, job_id):
                await db.execute(_OLD, (thread_id, list(keep)))
                await db.execute(_WRITES, [thread_id])
                await db.execute(_BLOBS, [thread_id])

        await self._database.run(work)


async def _goes_on(db: Connection, keep: Collection[str], job_id: JobId) -> bool:
    """Another job of the chat has begun, or been over, since `keep` was found."""
    row = await (await db.execute(_HOLD, [job_id])).fetchone()
    if row is None:
        return False
    chat, head = row
    begun = await (await db.execute(_BEGUN, [chat])).fetchone()
    return begun == (True,) or (head or ROOT) not in keep


async def _has_tables(db: Connection) -> bool:
    found = await db.execute("SELECT to_regclass('checkpoint_writes') IS NOT NULL")
    return await found.fetchone() == (True,)
