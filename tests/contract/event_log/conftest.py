"""Every store of the log. A new one joins with one more fixture parameter."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from sluice.application.ports import EventLogPort
from tests.contract.event_log.stores import Store, store_of


@pytest.fixture(params=["memory", "sqlite", "fakeredis", "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    """For the real Redis, its address."""
    if request.param == "fakeredis":
        pytest.importorskip("lupa")
    if request.param == "redis":
        return str(request.getfixturevalue("redis_url"))
    return str(request.param)


@pytest.fixture
async def store(kind: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with AsyncExitStack() as stack:
        yield await store_of(kind, tmp_path, stack, 3600)


@pytest.fixture
def log(store: Store) -> EventLogPort:
    return store.log
