"""A connection to SQLite, and the thread that owns it. None in memory.

Deliberate divergence: work is handed to the connection's thread as one function, a whole
transaction at a time, and not statement by statement as aiosqlite is mostly used. A transaction
is then one change of threads, cannot be torn by a cancellation, and no statement's text values
reach aiosqlite's debug log.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any, Self, TypeVar, cast

import aiosqlite

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class ConnectionThread(aiosqlite.Connection):
    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, iter_chunk_size=64)
        self._thread.daemon = True  # an exit without aclose must not hang

    async def start(self) -> Self:
        try:
            await self
        except BaseException:
            # Its last act is to tell this loop, so it must be over before the loop is.
            await asyncio.to_thread(self._thread.join)
            raise
        self._loop = asyncio.get_running_loop()
        return self

    async def run(self, work: Work[T]) -> T:
        return cast("T", await self._execute(work, self._conn))  # type: ignore[no-untyped-call]

    def post(self, work: Work[None]) -> None:
        """Waits for nothing: the work tells what became of it."""
        self._tx.put_nowait((None, partial(work, self._conn)))

    def tell(self, told: Callable[..., object], *arguments: Any) -> None:
        """Called by work, to have something happen in the event loop."""
        self._loop.call_soon_threadsafe(told, *arguments)


class HereConnection:
    """A connection to memory: it never waits, so that a thread would only cost."""

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        self._connector = connector

    async def start(self) -> Self:
        self._conn = self._connector()
        return self

    async def run(self, work: Work[T]) -> T:
        return work(self._conn)

    def post(self, work: Work[None]) -> None:
        work(self._conn)

    def tell(self, told: Callable[..., object], *arguments: Any) -> None:
        told(*arguments)

    async def close(self) -> None:
        self._conn.close()
