"""Where graphs leave their checkpoints: LangGraph's savers over the stores that chats are in.

Their libraries are an extra, and loaded where a graph needs one. Each wants a running event loop.
"""

from typing import TYPE_CHECKING

from sluice.infrastructure.pipeline.savers.saver import Saver
from sluice.infrastructure.sqlite.checkpoints import SqliteCheckpoints

if TYPE_CHECKING:
    from sluice.infrastructure.postgres.database import PostgresDatabase


def sqlite_saver(checkpoints: SqliteCheckpoints) -> Saver | None:
    """None where there can be no file."""
    if not checkpoints.may_be:
        return None
    from sluice.infrastructure.pipeline.savers.sqlite import SqliteSaver

    return SqliteSaver(checkpoints)


def postgres_saver(database: "PostgresDatabase") -> Saver:
    from sluice.infrastructure.pipeline.savers.postgres import PostgresSaver

    return PostgresSaver(database)
