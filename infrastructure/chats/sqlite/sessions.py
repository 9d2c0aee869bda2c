"""Names of chats in SQLite."""

import sqlite3
from typing import Any

from sluice.domain.chat import ChatId, UserId
from sluice.infrastructure.sqlite.database import SqliteDatabase


class SqliteSessions:
    """The chat's deletion removes its names: see SqliteChats."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    async def session(self, user: UserId, name: str, chat_id: ChatId) -> ChatId:
        """Durable with the job's log, which is created next."""

        def work(db: sqlite3.Connection) -> Any:
            named = "INSERT INTO sessions VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
            db.execute(named, (user, name, chat_id))
            query = "SELECT chat_id FROM sessions WHERE user = ? AND name = ?"
            return db.execute(query, (user, name)).fetchone()[0]

        found: ChatId = await self._database.write(work, durable=False)
        return found

    async def find(self, user: UserId, name: str) -> ChatId | None:
        query = "SELECT chat_id FROM sessions WHERE user = ? AND name = ?"
        found = await self._database.read(lambda db: db.execute(query, (user, name)).fetchone())
        return None if found is None else str(found[0])
