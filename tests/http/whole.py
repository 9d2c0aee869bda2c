"""The whole embedded service in the test's own loop: its container, a real graph, real figures."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

import httpx2
import pytest
from uvicorn.server import ServerState

from sluice.infrastructure.composition.embedded import Embedded
from sluice.infrastructure.settings import read_settings
from sluice.interfaces.http.app import create_app
from sluice.interfaces.http.server.connection import connections
from sluice.interfaces.processes.embedded import embedded
from sluice.offline_model.server import OfflineModel
from tests.http.house import listening
from tests.waiting import until


@dataclass(frozen=True)
class Whole:
    client: httpx2.AsyncClient
    container: Embedded


@asynccontextmanager
async def whole_service(
    build: Callable[..., Any], model: OfflineModel, monkeypatch: pytest.MonkeyPatch, **given: Any
) -> AsyncIterator[Whole]:
    """Wants the fixture `no_settings`. `build` makes the graph, `given` are settings."""
    module = ModuleType("graph_of_this_test")
    module.build = build  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    own = {"OPENAI_API_KEY": "x", "OPENAI_BASE_URL": model.base_url, "OPENAI_MODEL": "m"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    settings = read_settings(pipeline=f"{module.__name__}:build", shutdown_grace=0, **given)
    async with embedded(settings, None) as service:
        container, state = cast("Embedded", service._container), ServerState()
        options = service._options()
        app = create_app(service._services(), options, *service._protocols())
        async with listening(app, state, connections(options.streams, timeout=5)) as url:
            # Without `verify=False` every client would load the system's certificates.
            async with httpx2.AsyncClient(
                base_url=url, trust_env=False, timeout=10, verify=False
            ) as client:
                yield Whole(client, container)
            await service._drain()
            await until(lambda: not state.tasks)
