"""Fixtures that every suite may ask for."""

import asyncio
import gc
import os
import ssl
from collections.abc import AsyncIterator, Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpcore2
import pytest
from fastapi.routing import APIRoute, _EffectiveRouteContext
from hypothesis import Phase, settings

from sluice.interfaces.http.app import App
from sluice.offline_model.server import OfflineModel
from tests.cuts import CUTS, seed
from tests.frontends.packages import install
from tests.services import own_postgres, own_redis, postgres_url, redis_server_url, redis_url
from tests.spans import spans

__all__ = [
    "own_postgres",
    "own_redis",
    "postgres_url",
    "redis_server_url",
    "redis_url",
    "spans",
]

# The same examples in every run, however busy the machine: a red test is red again.
settings.register_profile("sluice", deadline=None, derandomize=True)
settings.load_profile("sluice")
# A mutant, or another Python, is told by the first example that fails: tests/mutation, Makefile.
settings.register_profile(
    "few",
    settings.get_profile("sluice"),
    max_examples=20,
    phases=[Phase.explicit, Phase.generate],
)


def pytest_configure() -> None:
    """Before any process that shares the work is started, and inherits it."""
    seed()


def pytest_report_header() -> str:
    return f"cuts of each client: CUTS={CUTS} SEED={seed()}"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported by its end stays: no collection need walk it before that."""
    gc.disable()
    try:
        return (yield)
    finally:
        settle()
        gc.enable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Before the first test that wants them, whose own time the installation would take."""
    if not session.config.option.collectonly and any(
        "packages" in getattr(item, "fixturenames", ()) for item in session.items
    ):
        install()


def settle() -> None:
    """What is alive now need not be walked by every later collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def certificates_read_once() -> Iterator[None]:
    """Each client of the SDK reads this machine's anew, which would be a third of many a test."""
    read = httpcore2.default_ssl_context

    @cache
    def context(trust_env: bool, *_named: str | None) -> ssl.SSLContext:
        return read(_trust_env=trust_env)

    def known(*, _trust_env: bool = True) -> ssl.SSLContext:
        return context(_trust_env, *map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR")))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpcore2, "default_ssl_context", known)
        yield


@pytest.fixture(scope="session", autouse=True)
def routes_read_once() -> Iterator[None]:
    """FastAPI looks at the parameters of all routes for each application: 0.2 s of many a test.
    Ours are all alike.
    """
    read = _EffectiveRouteContext.from_api_route
    known: dict[tuple[int, str], tuple[APIRoute, Any]] = {}

    def context(*, original_route: APIRoute, include_context: Any) -> Any:
        def made() -> Any:
            return read(original_route=original_route, include_context=include_context)

        if not isinstance(include_context.dependency_overrides_provider, App):
            return made()
        key = id(original_route), include_context.prefix
        if key not in known:
            known[key] = original_route, made()
        return known[key][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_EffectiveRouteContext, "from_api_route", context)
        yield


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of this machine's own settings."""
    for name in list(os.environ):
        if name.startswith(("SLUICE_", "OPENAI_", "ENABLE_TOKEN_STREAMING")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Whatever a test started is over when it ends."""
    before = tasks()
    yield
    async with asyncio.timeout(5):
        while left := tasks() - before:
            await asyncio.wait(left)


def tasks() -> set[asyncio.Task[Any]]:
    """Without the tasks in which anyio runs tests and fixtures."""
    return {task for task in asyncio.all_tasks() if "TestRunner" not in repr(task.get_coro())}


@pytest.fixture(scope="module")
def settled_heap() -> None:
    settle()


_OPENED = {
    "BaseChatModel.astream",
    "Pregel.astream",
    "Response.aiter_bytes",
    "Runnable._astream_events_v1_v2",
}
"""Other people's generators that ours iterate."""


@pytest.fixture
async def no_generator_left(
    settled_heap: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """Every asynchronous generator, ours or one that we open, is closed by whoever opened it."""
    loop: Any = asyncio.get_running_loop()
    house, finalize = Path(__file__).parent.parent, loop._asyncgen_finalizer_hook
    left: list[str] = []

    def finalizer(generator: Any) -> None:
        code = generator.ag_code
        # LangChain's own astream drops this one; nobody but the collector can reach it then.
        known = code.co_qualname == "LangChainOpenAIRunnable._astream"
        opened = code.co_qualname in _OPENED
        path = Path(code.co_filename)
        ours = path.is_relative_to(house) and "site-packages" not in path.parts
        if (opened or ours) and not known:
            left.append(code.co_qualname)
        finalize(generator)

    monkeypatch.setattr(loop, "_asyncgen_finalizer_hook", finalizer)
    yield
    gc.collect()
    assert left == []


@pytest.fixture
async def model() -> AsyncIterator[OfflineModel]:
    """The upstream: a real OpenAI-compatible server on a socket, without a pace."""
    async with OfflineModel(pace=0) as model:
        yield model
