"""Changes of the share in SQLite."""

import sqlite3
from collections.abc import Sequence

from sluice.domain.chat import micros, moment
from sluice.domain.rollout import ShareChange
from sluice.infrastructure.sqlite.database import SqliteDatabase


class SqliteShareChanges:
    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def newest(self, limit: int) -> Sequence[ShareChange]:
        def work(db: sqlite3.Connection) -> list[ShareChange]:
            query = "SELECT * FROM share_changes ORDER BY number DESC LIMIT ?"
            rows = db.execute(query, (limit,))
            return [ShareChange(number, moment(at), *rest) for number, at, *rest in rows]

        return await self._database.read(work)

    async def append(self, change: ShareChange) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            inserted = db.execute(
                "INSERT INTO share_changes SELECT ?, ?, ?, ?, ?, ?, ?"
                " WHERE ? = (SELECT coalesce(max(number), 0) FROM share_changes)",
                (
                    *(change.number, micros(change.at), change.by, change.before),
                    *(change.after, change.why, change.rollout, change.number - 1),
                ),
            )
            return inserted.rowcount == 1

        return await self._database.write(work)
