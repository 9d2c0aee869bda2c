"""Fixtures that every suite may ask for."""

import os
from collections.abc import AsyncIterator

import pytest
from hypothesis import settings

from infrastructure.offline_model.server import OfflineModel

# The same examples in every run, however busy the machine: a red test is red again.
settings.register_profile("sluice", deadline=None, derandomize=True)
settings.load_profile("sluice")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of this machine's own settings."""
    for name in list(os.environ):
        if name.startswith(("SLUICE_", "OPENAI_", "ENABLE_TOKEN_STREAMING")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")


@pytest.fixture
async def model() -> AsyncIterator[OfflineModel]:
    """The upstream: a real OpenAI-compatible server on a socket, without a pace."""
    async with OfflineModel(pace=0) as model:
        yield model
