"""Outcomes in SQLite."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sluice.application.outcome_rows import FIELDS, READ, READ_DELIVERED, is_time, stored
from sluice.domain.chat import micros, moment, now
from sluice.domain.outcome import Delivered, StoredOutcome
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.infrastructure.sqlite.outcomes import stored_value

_SELECT = f"SELECT {READ}, {READ_DELIVERED} FROM outcomes o LEFT JOIN deliveries d USING (job_id)"  # noqa: S608
_MERGE = """INSERT INTO deliveries VALUES (?, ?, ?, ?, ?) ON CONFLICT (job_id) DO UPDATE SET
    first_at = min(ifnull(first_at, excluded.first_at), ifnull(excluded.first_at, first_at)),
    longest_gap = max(ifnull(longest_gap, excluded.longest_gap),
        ifnull(excluded.longest_gap, longest_gap)),
    seen = max(seen, excluded.seen)"""
_FIRST_AT = 4 + len(FIELDS) + 1
_TIMES = {1, _FIRST_AT} | {4 + place for place, name in enumerate(FIELDS) if is_time(name)}


class SqliteOutcomes:
    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def keep_delivered(self, delivered: Sequence[Delivered]) -> None:
        at = micros(now())
        rows = [
            (one.job_id, stored_value(one.first_at), one.longest_gap, one.seen, at)
            for one in delivered
        ]
        await self._database.write(lambda db: db.executemany(_MERGE, rows), durable=False)

    async def page(
        self, *, after: int, limit: int, rollout: str | None = None
    ) -> Sequence[StoredOutcome]:
        where = "o.number > ?" if rollout is None else "o.number > ? AND o.rollout = ?"
        given = [after] if rollout is None else [after, rollout]
        query = f"{_SELECT} WHERE {where} ORDER BY o.number LIMIT ?"
        return await self._read(query, *given, limit)

    async def written(
        self, rollout: str, after: tuple[datetime, int], until: datetime, limit: int
    ) -> Sequence[StoredOutcome]:
        where = "o.rollout = ? AND (o.written_at, o.number) > (?, ?) AND o.written_at <= ?"
        query = f"{_SELECT} WHERE {where} ORDER BY o.written_at, o.number LIMIT ?"
        return await self._read(query, rollout, micros(after[0]), after[1], micros(until), limit)

    async def newest(self, rollout: str | None, limit: int) -> Sequence[StoredOutcome]:
        query = f"{_SELECT} WHERE o.rollout = ? ORDER BY o.written_at DESC LIMIT ?"
        return await self._read(query, rollout or "", limit)

    async def clock(self) -> datetime:
        return now()

    async def forget(self, before: datetime) -> None:
        def work(db: sqlite3.Connection) -> None:
            for table in ("outcomes", "deliveries"):
                db.execute(f"DELETE FROM {table} WHERE written_at < ?", (micros(before),))  # noqa: S608
            db.execute("DELETE FROM shadows WHERE at < ?", (micros(before),))
            db.execute("DELETE FROM guard_looks WHERE minute < ?", (_minute(before),))

        await self._database.write(work, durable=False)

    async def keep_look(self, rollout: str, at: datetime, look: str) -> None:
        insert = """INSERT INTO guard_looks VALUES (?, ?, ?)
            ON CONFLICT (rollout, minute) DO UPDATE SET body = excluded.body"""
        given = rollout, _minute(at), look
        await self._database.write(lambda db: db.execute(insert, given), durable=False)

    async def looks(self, rollout: str, limit: int) -> Sequence[str]:
        query = "SELECT body FROM guard_looks WHERE rollout = ? ORDER BY minute DESC LIMIT ?"
        rows = await self._database.read(lambda db: db.execute(query, (rollout, limit)).fetchall())
        return [body for (body,) in rows]

    async def _read(self, query: str, *given: Any) -> Sequence[StoredOutcome]:
        rows = await self._database.read(lambda db: db.execute(query, given).fetchall())
        return [stored([_value(place, one) for place, one in enumerate(row)]) for row in rows]


def _value(place: int, value: Any) -> Any:
    return moment(value) if place in _TIMES and value is not None else value


def _minute(at: datetime) -> int:
    return micros(at) // 60_000_000
