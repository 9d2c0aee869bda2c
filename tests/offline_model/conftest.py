from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI

from sluice.offline_model import OfflineModel


@pytest.fixture
async def model() -> AsyncIterator[OfflineModel]:
    async with OfflineModel(pace=0) as model:
        yield model
    assert model.opened == model.closed
    assert model.connections == 0


@pytest.fixture
async def client(model: OfflineModel) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(
        api_key="none", base_url=model.base_url, max_retries=0, timeout=5
    ) as client:
        yield client
