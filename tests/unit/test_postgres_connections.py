"""Connections to PostgreSQL that could not be made."""

import gc
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import OperationalError

from sluice.infrastructure.postgres import database
from sluice.infrastructure.postgres.database import PostgresDatabase


@pytest.fixture
def hanging() -> Iterator[str]:
    """The URL of a server that takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"postgresql://sluice@127.0.0.1:{server.getsockname()[1]}/sluice"


@pytest.fixture
def no_collection() -> Iterator[None]:
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
    assert _descriptors() == before


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
