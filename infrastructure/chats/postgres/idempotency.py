"""Idempotency keys in PostgreSQL."""

from datetime import timedelta
from typing import Any

from sluice.application.flag_json import dump_flag, load_flag
from sluice.application.ports import Accepted
from sluice.domain.chat import JobId, UserId, now
from sluice.domain.errors import Conflict
from sluice.infrastructure.postgres.database import Connection, PostgresDatabase

_KEY_LASTS = timedelta(hours=24)


class PostgresIdempotency:
    """The chat's deletion removes what is bound to it: see PostgresChats."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def claim(self, user: UserId, key: str, fingerprint: str, accepted: Accepted) -> Accepted:
        whose = user.encode(), key.encode()
        to = accepted.job_id, accepted.chat_id.encode(), accepted.path

        async def work(db: Connection) -> tuple[Any, ...] | None:
            await db.execute("DELETE FROM claims WHERE created_at < %s", [now() - _KEY_LASTS])
            await db.execute(
                "INSERT INTO claims VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                (*whose, fingerprint, *to, now(), dump_flag(accepted.flag)),
            )
            found = await db.execute(
                "SELECT fingerprint, job_id, chat_id, path, flag FROM claims"
                " WHERE user_id = %s AND key = %s",
                whose,
            )
            return await found.fetchone()

        while (row := await self._database.run(work)) is None:
            continue  # somebody freed the key in between
        bound, job_id, chat_id, path, flag = row
        if bound != fingerprint:
            raise Conflict("the idempotency key was used for another request")
        return Accepted(job_id, chat_id.decode(), path, load_flag(flag))

    async def find(self, user: UserId, key: str) -> Accepted | None:
        query = "SELECT job_id, chat_id, path, flag FROM claims WHERE user_id = %s AND key = %s"

        async def work(db: Connection) -> tuple[Any, ...] | None:
            return await (await db.execute(query, (user.encode(), key.encode()))).fetchone()

        row = await self._database.run(work)
        if row is None:
            return None
        job_id, chat_id, path, flag = row
        return Accepted(job_id, chat_id.decode(), path, load_flag(flag))

    async def release(self, user: UserId, key: str, job_id: JobId) -> None:
        delete = "DELETE FROM claims WHERE user_id = %s AND key = %s AND job_id = %s"
        whose = user.encode(), key.encode(), job_id
        await self._database.run(lambda db: db.execute(delete, whose))
