"""What jobs have asked people, in SQLite."""

import json
import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sluice.application.compact_json import compact
from sluice.application.pause_json import dump_pause, load_pause, same
from sluice.application.pause_port import KeptPause
from sluice.domain.chat import Job, JobId, micros, moment, now
from sluice.domain.errors import Conflict, NotFound, Superseded
from sluice.domain.events import Json
from sluice.infrastructure.sqlite.database import SqliteDatabase


class SqlitePauses:
    """`retention`: seconds that they are known after their job's end.

    The chat's deletion removes them: see SqliteChats.
    """

    def __init__(self, database: SqliteDatabase, *, retention: float = 3600) -> None:
        self._database, self._retention = database, timedelta(seconds=retention)

    async def keep(self, job: Job, kept: KeptPause) -> None:
        def work(db: sqlite3.Connection) -> None:
            whose = job.user, job.chat_id
            chat = db.execute("SELECT 1 FROM chats WHERE user = ? AND id = ?", whose)
            if job.history is None and chat.fetchone() is None:
                raise NotFound(job.chat_id)
            later = "SELECT 1 FROM pauses WHERE job_id = ? AND attempt > ?"
            if db.execute(later, (job.id, kept.attempt)).fetchone():
                raise Superseded
            db.execute(
                "INSERT INTO pauses"
                " (job_id, user, chat_id, attempt, pause, answers, spent, expires_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(job.id, *whose, kept.attempt, dump_pause(kept.pause)),
                    *(compact(kept.answers), kept.spent, micros(kept.expires_at)),
                ),
            )

        await self._database.persist(work)

    async def last(self, job_id: JobId) -> KeptPause | None:
        found = await self._database.read(lambda db: _of_job(db, job_id))
        return found[0][1] if found else None

    async def asking(self, job_id: JobId, input_id: str) -> KeptPause | None:
        found = await self._database.read(lambda db: _of_job(db, job_id))
        return next((kept for _, kept in found if kept.pause.asks(input_id)), None)

    async def answer(self, job_id: JobId, input_id: str, value: Json) -> KeptPause:
        def work(db: sqlite3.Connection) -> KeptPause:
            found = [each for each in _of_job(db, job_id) if each[1].pause.asks(input_id)]
            if not found:
                raise NotFound(input_id)
            key, kept = found[0]
            if input_id not in kept.answers:
                kept = kept.with_answer(input_id, value)
                update = "UPDATE pauses SET answers = ? WHERE key = ?"
                db.execute(update, (compact(kept.answers), key))
            elif not same(kept.answers[input_id], value):
                raise Conflict("the question has been answered otherwise")
            return kept

        return await self._database.write(work)

    async def close(self, job_id: JobId) -> None:
        """Durable with the job's terminal event, which is written next."""

        def work(db: sqlite3.Connection) -> None:
            close = "UPDATE pauses SET closed = TRUE, closed_at = ? WHERE job_id = ?"
            db.execute(close, (micros(now()), job_id))

        await self._database.persist(work, durable=False)

    async def forget(self) -> None:
        before = micros(now() - self._retention)
        delete = "DELETE FROM pauses WHERE closed_at < ?"
        write = self._database.write
        if await write(lambda db: db.execute(delete, (before,)).rowcount, durable=False):
            self._database.unscrubbed = True
        await self._database.scrub_rest()


def _of_job(db: sqlite3.Connection, job_id: JobId) -> Sequence[tuple[int, KeptPause]]:
    """With their keys, the last one first."""
    query = (
        "SELECT key, pause, attempt, expires_at, spent, answers, closed FROM pauses"
        " WHERE job_id = ? ORDER BY key DESC"
    )
    return [(key, _kept(row)) for key, *row in db.execute(query, (job_id,))]


def _kept(row: Sequence[Any]) -> KeptPause:
    pause, attempt, expires_at, spent, answers, closed = row
    return KeptPause(
        *(load_pause(pause), attempt, moment(expires_at)),
        *(spent, json.loads(answers), bool(closed)),
    )
