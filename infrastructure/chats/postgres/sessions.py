"""Names of chats in PostgreSQL."""

from typing import Any

from sluice.domain.chat import ChatId, UserId
from sluice.infrastructure.postgres.database import Connection, PostgresDatabase


class PostgresSessions:
    """The chat's deletion removes its names: see PostgresChats."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    async def session(self, user: UserId, name: str, chat_id: ChatId) -> ChatId:
        named = user.encode(), name.encode()

        async def work(db: Connection) -> tuple[Any, ...] | None:
            insert = "INSERT INTO sessions VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
            await db.execute(insert, (*named, chat_id.encode()))
            query = "SELECT chat_id FROM sessions WHERE user_id = %s AND name = %s"
            return await (await db.execute(query, named)).fetchone()

        while (row := await self._database.run(work)) is None:
            continue  # its chat was deleted in between
        found: bytes = row[0]
        return found.decode()

    async def find(self, user: UserId, name: str) -> ChatId | None:
        query = "SELECT chat_id FROM sessions WHERE user_id = %s AND name = %s"

        async def work(db: Connection) -> tuple[Any, ...] | None:
            return await (await db.execute(query, (user.encode(), name.encode()))).fetchone()

        row = await self._database.run(work)
        return None if row is None else str(row[0].decode())
