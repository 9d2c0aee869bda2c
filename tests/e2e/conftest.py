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

if TYPE_CHECKING:
    from playwright.async_api import Browser

ROOT = Path(__file__).parents[2]
READY_WITHIN, GONE_WITHIN = 30, 15
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
        port = free_port()
        env = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        env |= {"SLUICE_PORT": str(port), "SLUICE_STORE": "memory://", **settings}
        log = logs / f"{port}.log"
        with log.open("wb") as output:
            process = await create_subprocess_exec(
                *(sys.executable, "-m", "interfaces.cli", "serve"),
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
