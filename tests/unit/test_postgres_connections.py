"""Connections to PostgreSQL that could not be made."""

import gc
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import OperationalError

from sluice.domain.errors import Unavailable
from sluice.infrastructure.postgres import database
from sluice.infrastructure.postgres.database import Connection, PostgresDatabase, Work


@pytest.fixture
def hanging() -> Iterator[str]:
    """The URL of a server that takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"postgresql://sluice@127.0.0.1:{server.getsockname()[1]}/sluice"


@pytest.fixture
def no_collection() -> Iterator[None]:
    gc.collect()  # what earlier tests left would be closed meanwhile
    gc.disable()
    yield
    gc.enable()


async def test_a_connection_that_timed_out_leaves_no_descriptor(
    hanging: str, monkeypatch: pytest.MonkeyPatch, no_collection: None
) -> None:
    monkeypatch.setattr(database, "_TIMEOUT_SECONDS", 2)  # psycopg waits no less
    before = _descriptors()
    with pytest.raises(OperationalError, match="timeout"):
        await PostgresDatabase(hanging).session()
    assert _descriptors() <= before


async def test_jobs_that_wait_for_a_database_are_told_once_and_once_more_when_they_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database, "_RETRY_SECONDS", 0)
    away = PostgresDatabase("postgresql://")
    answers = iter([Unavailable("PostgreSQL cannot be reached")] * 3 + [None])

    async def run(_: Work[None]) -> None:
        if (answer := next(answers)) is not None:
            raise answer

    monkeypatch.setattr(away, "run", run)
    await away.persist(_nothing)
    told = [record.getMessage().partition(": ")[0] for record in caplog.records]
    assert told == ["jobs wait for their chats", "jobs wait for no chat any more"]


async def _nothing(_: Connection) -> None:
    """There is nothing to write."""


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
