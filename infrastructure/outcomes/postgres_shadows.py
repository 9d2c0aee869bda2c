"""Shadow runs in PostgreSQL, beside the outcomes."""

from collections.abc import Sequence
from typing import Any

from sluice.application.shadows import dump_run, load_run
from sluice.domain.shadow import ShadowRun
from sluice.infrastructure.postgres.database import Connection, PostgresDatabase

_BUDGET_LOCK = 0x53484457
"""Who takes of the budget is alone with it: else two would take the same rest."""
_INSERT = "INSERT INTO shadows (job_id, tokens, body) VALUES (%s, %s, %s) ON CONFLICT (job_id) DO"
_SPENT = """SELECT coalesce(sum(tokens), 0) FROM shadows
    WHERE at > clock_timestamp() - interval '1 hour'"""


class PostgresShadows:
    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def begin(self, run: ShadowRun, budget: int) -> bool:
        async def work(db: Connection) -> bool:
            await db.execute("SELECT pg_advisory_xact_lock(%s)", [_BUDGET_LOCK])
            if await _spent(db) + run.tokens > budget:
                return False
            return (await db.execute(f"{_INSERT} NOTHING".encode(), _row(run))).rowcount == 1

        return await self._database.run(work)

    async def keep(self, run: ShadowRun) -> None:
        update = f"{_INSERT} UPDATE SET tokens = excluded.tokens, body = excluded.body"
        await self._database.run(lambda db: db.execute(update.encode(), _row(run)))

    async def spent(self) -> int:
        return await self._database.run(_spent)

    async def newest(self, limit: int) -> Sequence[ShadowRun]:
        query = "SELECT body FROM shadows ORDER BY at DESC LIMIT %s"

        async def work(db: Connection) -> list[tuple[Any, ...]]:
            return await (await db.execute(query, [limit])).fetchall()

        return [load_run(body) for (body,) in await self._database.run(work)]


async def _spent(db: Connection) -> int:
    row = await (await db.execute(_SPENT)).fetchone()
    return int(row[0]) if row else 0


def _row(run: ShadowRun) -> tuple[str, int, str]:
    return run.job_id, run.tokens, dump_run(run)
