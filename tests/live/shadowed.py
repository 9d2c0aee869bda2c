"""A model that answers a question's job and its shadow differently, and how a shadow is awaited."""

import asyncio
from itertools import count
from typing import Any

from sluice.offline_model import OfflineModel, Reply
from tests.live.service import Service

CANARY = "SHADOW-CANARY"


def says_apart(model: OfflineModel, message: str, real: Reply, shadow: Reply) -> None:
    """The job's answering call comes first."""
    turns = count()

    def is_answer(body: Any) -> bool:
        asked: bool = body["messages"][-1]["content"] == message
        return asked and "response_format" not in body

    model.script_when(is_answer, real)
    model.script_when(lambda body: is_answer(body) and next(turns) > 0, shadow)


async def shadows(gateway: Service) -> dict[str, Any]:
    found: dict[str, Any] = (await gateway.client.get(f"{gateway.url}/api/v1/rollout")).json()
    shadow: dict[str, Any] = found["shadow"]
    return shadow


async def shadows_when(gateway: Service, name: str, times: int = 1) -> dict[str, Any]:
    """Until so many are told of by that name."""
    async with asyncio.timeout(10):
        while (shown := await shadows(gateway))[name] < times:
            await asyncio.sleep(0.05)
    return shown
