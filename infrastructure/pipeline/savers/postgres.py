"""Checkpoints in PostgreSQL, in the schema of the chats. Its library is an extra."""

import asyncio
import math
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import InterfaceError, OperationalError

from sluice.domain.errors import Unavailable
from sluice.infrastructure.pipeline.savers.saver import Saver
from sluice.infrastructure.postgres.database import Connection, PostgresDatabase

_SETUP_LOCK = 0x534C4344
"""Of whoever makes the tables: one process at a time."""
_POLL_SECONDS = 0.1


class PostgresSaver(Saver, AsyncPostgresSaver):
    outages = (OperationalError, InterfaceError, Unavailable)

    def __init__(self, database: PostgresDatabase) -> None:
        """Needs a running event loop, as its parent does."""
        AsyncPostgresSaver.__init__(self, database.pool)  # type: ignore[arg-type]
        self._database = database
        self._setup = _Setup()

    async def ready(self) -> None:
        async with self._setup.lock:
            if not self._setup.done:
                await self._database.check()  # it makes the schema
                await self._make_tables()
                self._setup.done = True

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """LangGraph's writes plain values as JSON; those that are none go beside it as bytes."""
        values = {
            key: _NoJson(value) if _is_no_json(value) else value
            for key, value in checkpoint["channel_values"].items()
        }
        kept: Checkpoint = {**checkpoint, "channel_values": values}
        return await super().aput(config, kept, metadata, new_versions)

    def _dump_blobs(
        self, thread_id: str, checkpoint_ns: str, values: dict[str, Any], versions: ChannelVersions
    ) -> Any:
        plain = {
            key: value.value if isinstance(value, _NoJson) else value
            for key, value in values.items()
        }
        return super()._dump_blobs(thread_id, checkpoint_ns, plain, versions)

    async def _make_tables(self) -> None:
        """A lock that is waited for would make `CREATE INDEX CONCURRENTLY` wait in turn."""
        async with self._database.pool.connection() as connection:
            while not await _locked(connection):  # noqa: ASYNC110 - in another process
                await asyncio.sleep(_POLL_SECONDS)
            try:
                await self.setup()
            finally:
                await connection.execute("SELECT pg_advisory_unlock(%s)", [_SETUP_LOCK])


@dataclass(frozen=True, slots=True)
class _NoJson:
    """A text or a number that PostgreSQL's JSON has no form of."""

    value: Any


def _is_no_json(value: object) -> bool:
    if isinstance(value, str):
        halves = not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value)
        return halves or "\0" in value
    return isinstance(value, float) and not math.isfinite(value)


class _Setup:
    """Shared by the copies that LangGraph makes of a saver, one for each graph."""

    def __init__(self) -> None:
        self.lock, self.done = asyncio.Lock(), False


async def _locked(connection: Connection) -> bool:
    found = await connection.execute("SELECT pg_try_advisory_lock(%s)", [_SETUP_LOCK])
    return await found.fetchone() == (True,)
