"""A connection's thread, and one to memory without: what is done where, and what is told."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing

import pytest

from sluice.infrastructure.sqlite.connection import ConnectionThread, HereConnection

Connection = ConnectionThread | HereConnection


def connected() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", check_same_thread=False)


@pytest.fixture(params=[ConnectionThread, HereConnection])
async def connection(
    request: pytest.FixtureRequest,
) -> AsyncIterator[Connection]:
    made: Connection = request.param(connected)
    assert await made.start() is made
    yield made
    await made.close()


def thread_of(connection: Connection) -> threading.Thread:
    if isinstance(connection, ConnectionThread):
        return connection._thread
    return threading.current_thread()


async def test_work_is_given_the_connection_where_it_belongs(connection: Connection) -> None:
    def work(db: sqlite3.Connection) -> tuple[object, threading.Thread]:
        return db.execute("SELECT 7").fetchone(), threading.current_thread()

    assert await connection.run(work) == ((7,), thread_of(connection))


async def test_posted_work_tells_the_event_loop(connection: Connection) -> None:
    heard = asyncio.get_running_loop().create_future()
    here = threading.current_thread()

    def tell(found: object, where: threading.Thread) -> None:
        heard.set_result((found, where, threading.current_thread()))

    def work(db: sqlite3.Connection) -> None:
        found = db.execute("SELECT 7").fetchone()
        connection.tell(tell, found, threading.current_thread())

    connection.post(work)
    async with asyncio.timeout(5):
        assert await heard == ((7,), thread_of(connection), here)


@pytest.mark.parametrize("kind", [ConnectionThread, HereConnection])
async def test_closing_closes_what_was_opened(kind: Callable[..., Connection]) -> None:
    with closing(connected()) as db:
        connection = kind(lambda: db)
        await connection.start()
        await connection.close()
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            db.execute("SELECT 1")


async def test_a_thread_holds_up_no_exit_and_is_over_where_nothing_could_be_opened() -> None:
    def fail() -> sqlite3.Connection:
        raise sqlite3.OperationalError("unable to open database file")

    connection = ConnectionThread(fail)
    assert connection._thread.daemon
    with pytest.raises(sqlite3.OperationalError, match="unable"):
        await connection.start()
    assert not connection._thread.is_alive()
