"""What jobs have asked people, in PostgreSQL."""

import json
from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import Any

from sluice.application.compact_json import compact
from sluice.application.pause_json import dump_pause, load_pause, same
from sluice.application.pause_port import KeptPause
from sluice.domain.chat import Job, JobId, now
from sluice.domain.errors import Conflict, NotFound, Superseded
from sluice.domain.events import Json
from sluice.infrastructure.postgres.database import Connection, PostgresDatabase


class PostgresPauses:
    """`retention`: seconds that they are known after their job's end.

    The chat's deletion removes them: see PostgresChats.
    """

    def __init__(self, database: PostgresDatabase, *, retention: float = 3600) -> None:
        self._database, self._retention = database, timedelta(seconds=retention)

    async def keep(self, job: Job, kept: KeptPause) -> None:
        async def work(db: Connection) -> None:
            whose = job.user.encode(), job.chat_id.encode()
            # Locked: a deletion of the chat waits, and finds what is kept here.
            there = "SELECT FROM chats WHERE user_id = %s AND id = %s FOR UPDATE"
            chat = await db.execute(there, whose)
            if job.history is None and not chat.rowcount:
                raise NotFound(job.chat_id)
            later = "SELECT FROM pauses WHERE job_id = %s AND attempt > %s"
            if (await db.execute(later, (job.id, kept.attempt))).rowcount:
                raise Superseded
            await db.execute(
                "INSERT INTO pauses"
                " (job_id, user_id, chat_id, attempt, pause, answers, spent, expires_at)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    *(job.id, *whose, kept.attempt, dump_pause(kept.pause).encode()),
                    *(compact(kept.answers).encode(), kept.spent, kept.expires_at),
                ),
            )

        await self._database.persist(work)

    async def last(self, job_id: JobId) -> KeptPause | None:
        found = await self._database.run(lambda db: _of_job(db, job_id))
        return found[0][1] if found else None

    async def asking(self, job_id: JobId, input_id: str) -> KeptPause | None:
        found = await self._database.run(lambda db: _of_job(db, job_id))
        return next((kept for _, kept in found if kept.pause.asks(input_id)), None)

    async def answer(self, job_id: JobId, input_id: str, value: Json) -> KeptPause:
        async def work(db: Connection) -> KeptPause:
            """Answers that come at once take turns: none is written over another."""
            found = await _of_job(db, job_id, lock=True)
            found = [each for each in found if each[1].pause.asks(input_id)]
            if not found:
                raise NotFound(input_id)
            key, kept = found[0]
            if input_id not in kept.answers:
                kept = kept.with_answer(input_id, value)
                update = "UPDATE pauses SET answers = %s WHERE key = %s"
                await db.execute(update, (compact(kept.answers).encode(), key))
            elif not same(kept.answers[input_id], value):
                raise Conflict("the question has been answered otherwise")
            return kept

        return await self._database.run(work)

    async def close(self, job_id: JobId) -> None:
        async def work(db: Connection) -> None:
            close = "UPDATE pauses SET closed = TRUE, closed_at = %s WHERE job_id = %s"
            await db.execute(close, (now(), job_id))

        await self._database.persist(work)

    async def forget(self) -> None:
        before = now() - self._retention
        delete = "DELETE FROM pauses WHERE closed_at < %s"
        await self._database.run(lambda db: db.execute(delete, [before]))


async def _of_job(
    db: Connection, job_id: JobId, *, lock: bool = False
) -> Sequence[tuple[int, KeptPause]]:
    """With their keys, the last one first."""
    query = (
        "SELECT key, pause, attempt, expires_at, spent, answers, closed FROM pauses"
        " WHERE job_id = %s ORDER BY key DESC"
    )
    found = await db.execute(f"{query} FOR UPDATE" if lock else query, [job_id])
    return [(key, _kept(row)) for key, *row in await found.fetchall()]


def _kept(row: Sequence[Any]) -> KeptPause:
    pause, attempt, expires_at, spent, answers, closed = row
    return KeptPause(
        *(load_pause(pause), attempt, expires_at.astimezone(UTC)),
        *(spent, json.loads(answers), closed),
    )
