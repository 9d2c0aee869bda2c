"""Changes of the share in PostgreSQL."""

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from sluice.application.plan_json import dump_plan, dump_verdict, load_plan, load_verdict
from sluice.domain.share_change import ShareChange
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
            *(change.why and change.why.encode(), change.rollout, dump_plan(change.plan)),
            *(change.state, dump_verdict(change.verdict), change.since, change.number - 1),
        )

        async def work(db: Connection) -> int:
            inserted = await db.execute(
                "INSERT INTO share_changes"
                " SELECT %s::integer, %s::timestamptz, %s::bytea, %s::float8, %s::float8,"
                " %s::bytea, %s::text, %s::text, %s::text, %s::text, %s::timestamptz"
                " WHERE %s = (SELECT coalesce(max(number), 0) FROM share_changes)"
                " ON CONFLICT DO NOTHING",
                values,
            )
            return inserted.rowcount

        return await self._database.run(work) == 1


def _change(row: tuple[Any, ...]) -> ShareChange:
    number, at, by, before, after, why, rollout, plan, state, verdict, since = row
    told = load_plan(plan), state, since and since.astimezone(UTC), load_verdict(verdict)
    changed = number, at.astimezone(UTC), by.decode(), before, after
    return ShareChange(*changed, why and why.decode(), rollout, *told)
