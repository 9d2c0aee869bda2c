"""The checkpoints that graphs leave in PostgreSQL, in the schema of the chats.

The tables are LangGraph's, made by its saver when a graph first needs it; here is what no saver
does, and what a process without a graph may have to do.
"""

from collections.abc import Collection

from sluice.infrastructure.postgres.database import Connection, PostgresDatabase

_TABLES = ("checkpoint_writes", "checkpoint_blobs", "checkpoints")

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

    async def prune(self, thread_id: str, keep: Collection[str]) -> None:
        async def work(db: Connection) -> None:
            if await _has_tables(db):
                await db.execute(_OLD, (thread_id, list(keep)))
                await db.execute(_WRITES, [thread_id])
                await db.execute(_BLOBS, [thread_id])

        await self._database.run(work)


async def _has_tables(db: Connection) -> bool:
    found = await db.execute("SELECT to_regclass('checkpoint_writes') IS NOT NULL")
    return await found.fetchone() == (True,)
