"""A real service in a process of its own, and a real browser."""

import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from sluice.offline_model import OfflineModel
from tests.e2e.page import asking
from tests.live.service import Service

if TYPE_CHECKING:
    from playwright.async_api import Browser, ConsoleMessage, Page

ROOT = Path(__file__).parents[2]
GONE_WITHIN = 15
WITHIN_MS = 5_000
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

Serve = Callable[..., AbstractAsyncContextManager[str]]


def missing(what: str) -> NoReturn:
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(f"REQUIRE_SERVICES=1, but {what} is missing")
    pytest.skip(f"{what} is missing")


def program(name: str) -> str:
    return shutil.which(name) or missing(name)


@pytest.fixture(scope="session")
def left() -> set[str]:
    """Services that their test is done with. A page that polls one has reason to complain."""
    return set()


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory, left: set[str]) -> Serve:
    """`async with serve(NAME="value") as base_url`: the service, which must exit with 0."""
    logs, numbers = tmp_path_factory.mktemp("service"), count(1)

    @asynccontextmanager
    async def running(**settings: str) -> AsyncIterator[str]:
        log = logs / f"{next(numbers)}.log"
        service = Service(log, {"SLUICE_STORE": "memory://", **settings})
        try:
            await service.start()
            left.discard(service.url)  # its port may have been another's
            yield service.url
        finally:
            left.add(service.url)
            if service.lives:
                service.tell(signal.SIGTERM)
                await service.gone(GONE_WITHIN)
            await service.aclose()
        assert service.returncode == 0, log.read_text()

    return running


@pytest.fixture(scope="module")
async def browser() -> "AsyncIterator[Browser]":
    chromium = program("chromium")
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        missing("playwright")
    async with (
        async_playwright() as playwright,
        await playwright.chromium.launch(executable_path=chromium, args=FLAGS) as running,
    ):
        yield running


@pytest.fixture(scope="module")
async def upstream() -> AsyncIterator[OfflineModel]:
    async with OfflineModel(pace=0) as model:
        yield model


@pytest.fixture(scope="module")
async def service(serve: Serve, upstream: OfflineModel) -> AsyncIterator[str]:
    async with serve(**asking(upstream)) as base:
        yield base


@pytest.fixture
def complaints() -> list[str]:
    """What the page has on its console; a test that expects any takes it out."""
    return []


@pytest.fixture
async def page(browser: "Browser", complaints: list[str], left: set[str]) -> "AsyncIterator[Page]":
    """Fails the test for anything on its console, a violated policy included."""

    def hear(message: "ConsoleMessage") -> None:
        if not message.location["url"].startswith(tuple(left)):
            complaints.append(f"{message.type}: {message.text}")

    context = await browser.new_context()
    context.set_default_timeout(WITHIN_MS)
    page = await context.new_page()
    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    yield page
    await context.close()
    assert complaints == []
