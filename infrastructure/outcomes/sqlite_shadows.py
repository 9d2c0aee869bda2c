"""Shadow runs in SQLite, beside the outcomes."""

import sqlite3
from collections.abc import Sequence

from sluice.application.shadows import dump_run, load_run
from sluice.domain.chat import micros, now
from sluice.domain.shadow import ShadowRun
from sluice.infrastructure.sqlite.database import SqliteDatabase

_HOUR_MICROS = 3600 * 1_000_000
_INSERT = "INSERT INTO shadows VALUES (?, ?, ?, ?) ON CONFLICT (job_id) DO"
_SPENT = "SELECT ifnull(sum(tokens), 0) FROM shadows WHERE at > ?"


class SqliteShadows:
    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def begin(self, run: ShadowRun, budget: int) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            if _spent(db) + run.tokens > budget:
                return False
            return db.execute(f"{_INSERT} NOTHING", _row(run)).rowcount == 1

        return await self._database.write(work, durable=False)

    async def keep(self, run: ShadowRun) -> None:
        update = f"{_INSERT} UPDATE SET tokens = excluded.tokens, body = excluded.body"
        await self._database.write(lambda db: db.execute(update, _row(run)), durable=False)

    async def spent(self) -> int:
        return await self._database.read(_spent)

    async def newest(self, limit: int) -> Sequence[ShadowRun]:
        query = "SELECT body FROM shadows ORDER BY at DESC LIMIT ?"
        rows = await self._database.read(lambda db: db.execute(query, (limit,)).fetchall())
        return [load_run(body) for (body,) in rows]


def _spent(db: sqlite3.Connection) -> int:
    (tokens,) = db.execute(_SPENT, (micros(now()) - _HOUR_MICROS,)).fetchone()
    return int(tokens)


def _row(run: ShadowRun) -> tuple[str, int, int, str]:
    return run.job_id, micros(now()), run.tokens, dump_run(run)
