"""A real service in a process of its own, and a real browser."""

import os
import shutil
import socket
import sys
from asyncio import create_subprocess_exec, sleep, timeout
from asyncio.subprocess import STDOUT
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import httpx2
import pytest

from sluice.offline_model import OfflineModel
from tests.e2e.page import asking

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

ROOT = Path(__file__).parents[2]
READY_WITHIN, GONE_WITHIN = 30, 15
WITHIN_MS = 5_000
OURS = ("SLUICE_", "OPENAI_", "ENABLE_TOKEN_STREAMING")
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
def serve(tmp_path_factory: pytest.TempPathFactory) -> Serve:
    """`async with serve(NAME="value") as base_url`: the service, which must exit with 0."""
    logs = tmp_path_factory.mktemp("service")

    @asynccontextmanager
    async def running(**settings: str) -> AsyncIterator[str]:
        port = settings.get("SLUICE_PORT") or free_port()
        env = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        env |= {"SLUICE_PORT": str(port), "SLUICE_STORE": "memory://", **settings}
        log = logs / f"{port}.log"
        with log.open("wb") as output:
            process = await create_subprocess_exec(
                *(sys.executable, "-m", "sluice.interfaces.cli", "serve"),
                cwd=ROOT, env=env, stdout=output, stderr=STDOUT,
            )  # fmt: skip
        base = f"http://127.0.0.1:{port}"
        try:
            async with timeout(READY_WITHIN):
                while not await ready(base):
                    assert process.returncode is None, log.read_text()
                    await sleep(0.05)
            yield base
        finally:
            if process.returncode is None:
                process.terminate()
            async with timeout(GONE_WITHIN):
                await process.wait()
        assert process.returncode == 0, log.read_text()

    return running


async def ready(base: str) -> bool:
    async with httpx2.AsyncClient(trust_env=False) as client:
        try:
            return (await client.get(f"{base}/readyz")).status_code == 200
        except httpx2.TransportError:
            return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


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
async def page(browser: "Browser", complaints: list[str]) -> "AsyncIterator[Page]":
    """Fails the test for anything on its console, a violated policy included."""
    context = await browser.new_context()
    context.set_default_timeout(WITHIN_MS)
    page = await context.new_page()
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    yield page
    await context.close()
    assert complaints == []
