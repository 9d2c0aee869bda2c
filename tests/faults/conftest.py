"""One service per path for all tests that only ask it, each before an upstream of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from sluice.offline_model import OfflineModel
from tests.live.service import Service, serving


@dataclass
class Live:
    """A service, the upstream that it calls, and the path that its jobs take."""

    service: Service
    model: OfflineModel
    path: str

    async def leaves_nothing(self) -> None:
        """No job, no stream, no call; what is open to the upstream is idle."""
        await self.service.idle()
        await self.model.until_idle()
        assert self.model.opened == self.model.closed


Start = Callable[..., Awaitable[Live]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """`await start(NAME="value")`: a service of the test's own, before an upstream of its own."""
    async with AsyncExitStack() as stack:

        async def started(path: str = "A2", folder: Path = tmp_path, **settings: str) -> Live:
            return await live(stack, folder, path, **settings)

        yield started


@pytest.fixture(scope="package")
async def services(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Live]]:
    """One for each path, patient for 4 s before a first token, then for 3."""
    async with AsyncExitStack() as stack:
        yield {
            path: await live(
                stack,
                tmp_path_factory.mktemp("service"),
                path,
                SLUICE_FIRST_TOKEN_TIMEOUT="4",
                SLUICE_IDLE_TIMEOUT="3",
                SLUICE_MAX_RUNNING="400",
            )
            for path in ("A1", "A2")
        }


@pytest.fixture(scope="module", params=["A1", "A2"])
def shared(request: pytest.FixtureRequest, services: dict[str, Live]) -> Live:
    """One service for many tests, on either path."""
    return services[request.param]


async def live(stack: AsyncExitStack, folder: Path, path: str, **settings: str) -> Live:
    model = await stack.enter_async_context(OfflineModel(pace=0))
    given = {
        "OPENAI_BASE_URL": model.base_url,
        "OPENAI_API_KEY": "key",
        "OPENAI_MODEL": "m",
        "SLUICE_STORE": f"sqlite:///{folder / 'sluice.db'}",
        "ENABLE_TOKEN_STREAMING": "true" if path == "A2" else "false",
    } | settings
    return Live(await stack.enter_async_context(serving(folder, **given)), model, path)
