"""Changes of the share in PostgreSQL."""

from collections.abc import Sequence
from typing import Any

from sluice.domain.rollout import ShareChange
from sluice.infrastructure.postgres.database import Connection, PostgresDatabase


class PostgresShareChanges:
    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def newest(self, limit: int) -> Sequence[ShareChange]:
        query = "SELECT * FROM share_changes ORDER BY number DESC LIMIT %s"

        async def work(db: Connection) -> list[tuple[Any, ...]]:
            return await (await db.execute(query, [limit])).fetchall()

        return [_change(row) for row in await self._database.run(work)]

    async def append(self, change: ShareChange) -> bool:
        """Of two at once one has the number; the other inserts nothing."""
        values = (
            *(change.number, change.at, change.by.encode(), change.before, change.after),
            *(change.why and change.why.encode(), change.rollout, change.number - 1),
        )

        async def work(db: Connection) -> int:
            inserted = await db.execute(
                "INSERT INTO share_changes"
                " SELECT %s::integer, %s::timestamptz, %s::bytea, %s::float8, %s::float8,"
                " %s::bytea, %s::text"
                " WHERE %s = (SELECT coalesce(max(number), 0) FROM share_changes)"
                " ON CONFLICT DO NOTHING",
                values,
            )
            return inserted.rowcount

        return await self._database.run(work) == 1


def _change(row: tuple[Any, ...]) -> ShareChange:
    number, at, by, before, after, why, rollout = row
    return ShareChange(number, at, by.decode(), before, after, why and why.decode(), rollout)
