"""The file beside the database in which graphs leave their checkpoints.

Its tables are LangGraph's, whose saver is given the connection; here is what no saver does. A
file of its own: a graph's state is large, and its writes would keep the tokens' waiting.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Collection
from pathlib import Path

from sluice.domain.chat import JobId
from sluice.domain.errors import Unavailable
from sluice.infrastructure.sqlite.connection import ConnectionThread
from sluice.infrastructure.sqlite.file import LOCK_TIMEOUT_SECONDS, truncate_wal


class SqliteCheckpoints:
    """`database` is the file beside which this one is; None: there can be none.

    Nothing is touched before `open`, and until then nothing is there to be forgotten.
    """

    def __init__(self, database: Path | None) -> None:
        self.may_be = database is not None
        self._path = Path(f"{database}-state")
        self.connection = ConnectionThread(self._connect)
        """The saver's own: what it writes it commits in a later step, and nobody may undo it."""
        self._cleaner = ConnectionThread(self._connect)
        self._is_open = False

    @property
    def exists(self) -> bool:
        return self.may_be and self._path.exists()

    async def open(self) -> None:
        """Raises ValueError, naming the file, if it cannot be used."""
        try:
            await self.connection.start()
            await self._cleaner.start()
        except (OSError, sqlite3.Error) as error:
            raise ValueError(f"{self._path}: {error}") from error
        self._is_open = True

    async def aclose(self) -> None:
        if self._is_open:
            self._is_open = False
            await self._cleaner.close()
            await self.connection.close()

    async def forget(self, thread_id: str) -> None:
        def work(db: sqlite3.Connection) -> None:
            with db:
                for table in ("checkpoints", "writes"):
                    db.execute(f"DELETE FROM {table} WHERE thread_id = ?", (thread_id,))  # noqa: S608
            truncate_wal(db)

        await self._run(work)

    async def prune(self, thread_id: str, keep: Collection[str], job_id: JobId) -> None:
        """Of a subgraph with a memory of its own the newest is kept: it goes on from that.

        The job's place in its chat is held meanwhile: in one process none has begun since.
        """
        kept = list(keep)
        old = f"""DELETE FROM checkpoints WHERE thread_id = ? AND CASE
            WHEN checkpoint_ns = '' THEN checkpoint_id NOT IN ({", ".join("?" * len(kept))})
            WHEN checkpoint_ns LIKE '%:%' THEN TRUE
            ELSE checkpoint_id < (SELECT max(checkpoint_id) FROM checkpoints AS newer
                WHERE newer.thread_id = checkpoints.thread_id
                AND newer.checkpoint_ns = checkpoints.checkpoint_ns) END"""  # noqa: S608
        writes = """DELETE FROM writes WHERE thread_id = ? AND NOT EXISTS (SELECT 1
            FROM checkpoints AS kept WHERE kept.thread_id = writes.thread_id
            AND kept.checkpoint_ns = writes.checkpoint_ns
            AND kept.checkpoint_id = writes.checkpoint_id)"""

        def work(db: sqlite3.Connection) -> None:
            with db:
                db.execute(old, (thread_id, *kept))
                db.execute(writes, (thread_id,))

        await self._run(work)

    async def _run(self, work: Callable[[sqlite3.Connection], None]) -> None:
        if not self._is_open:
            return
        wanted = True
        try:
            await self._cleaner.run(lambda db: work(db) if wanted and _has_tables(db) else None)
        except asyncio.CancelledError:
            wanted = False  # later, the next job may have begun
            raise
        except sqlite3.DatabaseError as error:
            raise Unavailable("the graphs' state cannot be written") from error

    def _connect(self) -> sqlite3.Connection:
        # Before SQLite makes it, with a mode that the WAL takes over: a state holds chats.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self._path, timeout=LOCK_TIMEOUT_SECONDS)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA secure_delete = ON")
        except BaseException:
            db.close()
            raise
        return db


def _has_tables(db: sqlite3.Connection) -> bool:
    """The saver makes them when it is first used."""
    query = "SELECT 1 FROM sqlite_master WHERE name = 'writes'"
    return db.execute(query).fetchone() is not None
