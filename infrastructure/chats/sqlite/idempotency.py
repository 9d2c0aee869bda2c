"""Idempotency keys in SQLite."""

import sqlite3
from datetime import timedelta
from typing import Any

from sluice.application.flag_json import dump_flag, load_flag
from sluice.application.ports import Accepted
from sluice.domain.chat import JobId, UserId, micros, now
from sluice.domain.errors import Conflict
from sluice.infrastructure.sqlite.database import SqliteDatabase

_KEY_LASTS = timedelta(hours=24)


class SqliteIdempotency:
    """The chat's deletion removes what is bound to it: see SqliteChats."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def claim(self, user: UserId, key: str, fingerprint: str, accepted: Accepted) -> Accepted:
        """Durable with the job's log, which is created next."""

        def work(db: sqlite3.Connection) -> Any:
            oldest = micros(now() - _KEY_LASTS)
            db.execute("DELETE FROM claims WHERE created_at < ?", (oldest,))
            db.execute(
                "INSERT INTO claims"
                " (user, key, fingerprint, job_id, chat_id, path, flag, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    *(user, key, fingerprint),
                    *(accepted.job_id, accepted.chat_id, accepted.path),
                    *(dump_flag(accepted.flag), micros(now())),
                ),
            )
            return db.execute(
                "SELECT fingerprint, job_id, chat_id, path, flag FROM claims"
                " WHERE user = ? AND key = ?",
                (user, key),
            ).fetchone()

        bound, job_id, chat_id, path, flag = await self._database.write(work, durable=False)
        if bound != fingerprint:
            raise Conflict("the idempotency key was used for another request")
        return Accepted(job_id, chat_id, path, load_flag(flag))

    async def find(self, user: UserId, key: str) -> Accepted | None:
        query = "SELECT job_id, chat_id, path, flag FROM claims WHERE user = ? AND key = ?"
        row = await self._database.read(lambda db: db.execute(query, (user, key)).fetchone())
        if row is None:
            return None
        job_id, chat_id, path, flag = row
        return Accepted(job_id, chat_id, path, load_flag(flag))

    async def release(self, user: UserId, key: str, job_id: JobId) -> None:
        def work(db: sqlite3.Connection) -> None:
            whose = user, key, job_id
            db.execute("DELETE FROM claims WHERE user = ? AND key = ? AND job_id = ?", whose)

        await self._database.write(work, durable=False)
