"""Outcomes in PostgreSQL."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sluice.application.outcome_rows import READ, READ_DELIVERED, stored
from sluice.domain.outcome import Delivered, StoredOutcome
from sluice.infrastructure.postgres.database import Connection, PostgresDatabase

_SELECT = f"SELECT {READ}, {READ_DELIVERED} FROM outcomes o LEFT JOIN deliveries d USING (job_id)"  # noqa: S608
_MERGE = """INSERT INTO deliveries (job_id, first_at, longest_gap, seen)
    SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::float8[], %s::boolean[])
    ON CONFLICT (job_id) DO UPDATE SET
        first_at = least(deliveries.first_at, excluded.first_at),
        longest_gap = greatest(deliveries.longest_gap, excluded.longest_gap),
        seen = deliveries.seen OR excluded.seen"""


class PostgresOutcomes:
    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def keep_delivered(self, delivered: Sequence[Delivered]) -> None:
        """In the order of their jobs, so that two processes do not wait for each other."""
        rows = sorted(delivered, key=lambda one: one.job_id)
        columns = [
            [one.job_id for one in rows],
            [one.first_at for one in rows],
            [one.longest_gap for one in rows],
            [one.seen for one in rows],
        ]
        await self._database.run(lambda db: db.execute(_MERGE, columns))

    async def page(
        self, *, after: int, limit: int, rollout: str | None = None
    ) -> Sequence[StoredOutcome]:
        where = "o.number > %s" if rollout is None else "o.number > %s AND o.rollout = %s"
        given = [after] if rollout is None else [after, rollout]
        return await self._read(
            f"{_SELECT} WHERE {where} ORDER BY o.number LIMIT %s", *given, limit
        )

    async def written(
        self, rollout: str, after: tuple[datetime, int], until: datetime, limit: int
    ) -> Sequence[StoredOutcome]:
        where = "o.rollout = %s AND (o.written_at, o.number) > (%s, %s) AND o.written_at <= %s"
        query = f"{_SELECT} WHERE {where} ORDER BY o.written_at, o.number LIMIT %s"
        return await self._read(query, rollout, *after, until, limit)

    async def newest(self, rollout: str | None, limit: int) -> Sequence[StoredOutcome]:
        query = f"{_SELECT} WHERE o.rollout = %s ORDER BY o.written_at DESC LIMIT %s"
        return await self._read(query, rollout or "", limit)

    async def clock(self) -> datetime:
        async def work(db: Connection) -> tuple[Any, ...] | None:
            return await (await db.execute("SELECT clock_timestamp()")).fetchone()

        row = await self._database.run(work)
        at: datetime = row[0] if row else datetime.now(UTC)
        return at.astimezone(UTC)

    async def forget(self, before: datetime) -> None:
        async def work(db: Connection) -> None:
            await db.execute("DELETE FROM outcomes WHERE written_at < %s", [before])
            await db.execute("DELETE FROM deliveries WHERE written_at < %s", [before])
            await db.execute("DELETE FROM shadows WHERE at < %s", [before])
            await db.execute("DELETE FROM guard_looks WHERE minute < %s", [_minute(before)])

        await self._database.run(work)

    async def keep_look(self, rollout: str, at: datetime, look: str) -> None:
        insert = """INSERT INTO guard_looks VALUES (%s, %s, %s)
            ON CONFLICT (rollout, minute) DO UPDATE SET body = excluded.body"""
        given = rollout, _minute(at), look
        await self._database.run(lambda db: db.execute(insert, given))

    async def looks(self, rollout: str, limit: int) -> Sequence[str]:
        query = "SELECT body FROM guard_looks WHERE rollout = %s ORDER BY minute DESC LIMIT %s"

        async def work(db: Connection) -> list[tuple[Any, ...]]:
            return await (await db.execute(query, (rollout, limit))).fetchall()

        return [body for (body,) in await self._database.run(work)]

    async def _read(self, query: str, *given: Any) -> Sequence[StoredOutcome]:
        async def work(db: Connection) -> list[tuple[Any, ...]]:
            return await (await db.execute(query.encode(), given)).fetchall()

        return [stored([_value(one) for one in row]) for row in await self._database.run(work)]


def _value(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def _minute(at: datetime) -> int:
    return int(at.timestamp()) // 60
