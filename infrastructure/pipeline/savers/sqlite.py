"""Checkpoints in the SQLite file beside the database. Its library is an extra."""

from sqlite3 import OperationalError

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from sluice.infrastructure.pipeline.savers.saver import Saver
from sluice.infrastructure.sqlite.checkpoints import SqliteCheckpoints


class SqliteSaver(Saver, AsyncSqliteSaver):
    outages = (OperationalError,)

    def __init__(self, checkpoints: SqliteCheckpoints) -> None:
        """Needs a running event loop, as its parent does."""
        AsyncSqliteSaver.__init__(self, checkpoints.connection)

    async def ready(self) -> None:
        await self.setup()
