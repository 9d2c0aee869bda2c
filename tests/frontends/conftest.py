"""Fixtures for the tests with other people's clients."""

import pytest

from tests.frontends.packages import packages

__all__ = ["packages"]


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop that the service runs on."""
    return "asyncio", {"use_uvloop": True}
