"""Changes of the share in SQLite."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from sluice.application.plan_json import dump_plan, dump_verdict, load_plan, load_verdict
from sluice.domain.chat import micros, moment
from sluice.domain.share_change import ShareChange
from sluice.infrastructure.sqlite.database import SqliteDatabase


class SqliteShareChanges:
    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def newest(self, limit: int) -> Sequence[ShareChange]:
        def work(db: sqlite3.Connection) -> list[ShareChange]:
            query = "SELECT * FROM share_changes ORDER BY number DESC LIMIT ?"
            return [_change(row) for row in db.execute(query, (limit,))]

        return await self._database.read(work)

    async def append(self, change: ShareChange) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            inserted = db.execute(
                "INSERT INTO share_changes SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
                " WHERE ? = (SELECT coalesce(max(number), 0) FROM share_changes)",
                (
                    *(change.number, micros(change.at), change.by, change.before),
                    *(change.after, change.why, change.rollout, dump_plan(change.plan)),
                    *(change.state, dump_verdict(change.verdict)),
                    *(change.since and micros(change.since), change.number - 1),
                ),
            )
            return inserted.rowcount == 1

        return await self._database.write(work)


def _change(row: tuple[Any, ...]) -> ShareChange:
    number, at, by, before, after, why, rollout, plan, state, verdict, since = row
    told = load_plan(plan), state, since and moment(since), load_verdict(verdict)
    return ShareChange(number, moment(at), by, before, after, why, rollout, *told)
