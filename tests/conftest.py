"""Fixtures that every suite may ask for."""

from collections.abc import AsyncIterator

import pytest

from infrastructure.offline_model.server import OfflineModel


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def model() -> AsyncIterator[OfflineModel]:
    """The upstream: a real OpenAI-compatible server on a socket, without a pace."""
    async with OfflineModel(pace=0) as model:
        yield model
