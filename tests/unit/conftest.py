"""Fixtures of the unit tests."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sluice.infrastructure.sqlite.database import SqliteDatabase
from tests.queue_bench import Bench, Benches
from tests.unit.upstreams import Asking, AskingWith, Server


@pytest.fixture
async def bench_of() -> AsyncIterator[Benches]:
    """Makes a bench; at the end everything it took has to be given back."""
    made: list[Bench] = []

    def make(*given: object, **options: object) -> Bench:
        made.append(Bench(*given, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for bench in made:
        await bench.emptied()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """An upstream that plays."""
    server = Server()
    async with await asyncio.start_server(server.accept, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        server.base_url = f"http://127.0.0.1:{port}/v1"
        yield server
    await server.closed()


@pytest.fixture
async def asking_with(server: Server) -> AsyncIterator[AskingWith]:
    """Clients of it, closed at the end."""
    made: list[Asking] = []

    def make(**settings: Any) -> Asking:
        made.append(Asking(server, **settings))
        return made[-1]

    yield make
    for one in made:
        await one.completions.aclose()


@pytest.fixture
def asking(asking_with: AskingWith) -> Asking:
    """A client of it that tries once."""
    return asking_with()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "sluice.db")
    await database.open()
    yield database
    await database.aclose()
