"""Other people's frontends as pages of their own origin, in a real browser."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import httpx2
import pytest

from sluice.offline_model import Break, OfflineModel, Reply
from tests.e2e.page import WHOLE_ANSWER_MS, asking, speaks
from tests.frontends.packages import HERE, packages

if TYPE_CHECKING:
    from playwright.async_api import Page

    from .conftest import Serve

pytest.importorskip("playwright")
from playwright.async_api import expect

__all__ = ["packages"]

ANSWER, RUNNING = ".assistant[data-end]", ".assistant:not([data-end]) pre:not(:empty)"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def use_chat(packages: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin at which the page is."""
    with served("use_chat.jsx", tmp_path_factory.mktemp("use_chat")) as origin:
        yield origin


@pytest.fixture(scope="module")
def use_stream(packages: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served("use_stream.jsx", tmp_path_factory.mktemp("use_stream")) as origin:
        yield origin


@contextmanager
def served(page: str, folder: Path) -> Iterator[str]:
    subprocess.run(
        [
            *(HERE / "node_modules" / ".bin" / "esbuild", page, "--bundle", "--minify"),
            *("--jsx=automatic", f"--outfile={folder / 'page.js'}", "--log-level=error"),
        ],
        cwd=HERE,
        check=True,
    )
    (folder / "index.html").write_text(
        "<!doctype html><meta charset=utf-8><link rel=icon href='data:,'>"
        "<div id=root></div><script src=page.js></script>"
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_use_chat_shows_stages_and_the_answer_also_when_loaded_again_in_the_middle(
    serve: "Serve", page: "Page", use_chat: str
) -> None:
    async with serve(SLUICE_CORS_ORIGINS=use_chat) as base:
        await page.goto(f"{use_chat}/?base={base}")
        await page.get_by_text("Ask", exact=True).click()
        await page.locator(RUNNING).wait_for()
        await page.reload()
        await page.locator(ANSWER).wait_for(timeout=WHOLE_ANSWER_MS)
        await expect(page.locator(ANSWER).locator("i").last).to_have_text("answer: completed")
        shown = await page.locator(f"{ANSWER} pre").text_content()
        async with httpx2.AsyncClient(base_url=base, trust_env=False) as client:
            (chat,) = (await client.get("/api/v1/chat")).json()["items"]
            items = (await client.get(f"/api/v1/chat/{chat['id']}")).json()["items"]
        assert [one["role"] for one in items] == ["user", "assistant"]
        assert shown == items[1]["content"]


async def test_use_chat_stops_the_answer_itself(
    serve: "Serve", page: "Page", use_chat: str
) -> None:
    async with (
        OfflineModel(pace=0) as model,
        serve(**asking(model), SLUICE_CORS_ORIGINS=use_chat) as base,
    ):
        model.script_when(speaks, Reply(["Half ", Break.HANG]))
        await page.goto(f"{use_chat}/?base={base}")
        await page.get_by_text("Ask", exact=True).click()
        await page.locator(RUNNING).wait_for()
        await page.get_by_text("Stop", exact=True).click()
        await expect(page.locator(ANSWER)).to_have_attribute("data-end", "cancelled")
        await expect(page.locator("main")).to_have_attribute("data-status", "ready")


async def test_use_stream_shows_the_answer_also_when_loaded_again_in_the_middle(
    serve: "Serve", page: "Page", use_stream: str
) -> None:
    async with serve(SLUICE_CORS_ORIGINS=use_stream) as base:
        await page.goto(f"{use_stream}/?base={base}")
        await page.get_by_text("Ask", exact=True).click()
        await page.locator(".ai pre:not(:empty)").wait_for()
        await expect(page.locator("i").first).to_have_text("queued: completed")
        await page.reload()
        await page.locator(".ai pre:not(:empty)").wait_for()
        done = page.locator("main[data-status=ready] .ai")
        await done.wait_for(timeout=WHOLE_ANSWER_MS)
        async with httpx2.AsyncClient(base_url=base, trust_env=False) as client:
            (chat,) = (await client.get("/api/v1/chat")).json()["items"]
            items = (await client.get(f"/api/v1/chat/{chat['id']}")).json()["items"]
        assert [one["role"] for one in items] == ["user", "assistant"]
        await expect(page.locator(".ai pre")).to_have_count(1)
        assert await page.locator(".ai pre").text_content() == items[1]["content"]
