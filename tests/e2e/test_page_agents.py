"""What an answer has beside its text, and its text as Markdown, in a real browser."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sluice.offline_model import Gate, OfflineModel, Reply
from sluice.offline_model.replies import Piece, tool_call_deltas
from tests.e2e.page import CANCELLED, COMPLETED, LIVE, RUNNING, ask, asking, speaks

if TYPE_CHECKING:
    from playwright.async_api import Page

    from .conftest import Serve

pytest.importorskip("playwright")
from playwright.async_api import expect

CARD = f"{LIVE} .tool"
EVIL = (
    "[go](javascript:alert(1)) [go](data:text/html,x) [go](JAVASCRIPT:alert(2)) "
    "<javascript:alert(3)>\n\n"
    '<img src=x onerror="alert(4)"><iframe srcdoc="<script>alert(5)</script>"></iframe>\n\n'
    "```<script>alert(6)</script>\n</code></pre><script>alert(7)</script>\n```\n\n"
    "|<b>a</b>|b|\n|-|-|\n|<script>alert(8)</script>|[x](vbscript:x)|\n\n"
    + "> " * 20_000
    + "\n\n"
    + "- " * 20_000
    + "\n\n"
    + "*a [" * 10_000
    + "\n\n"
    '[fine](https://example.com/?a="onclick=alert(9))\n\nThe end.'
)


def agent(folder: Path) -> dict[str, str]:
    """It may ask, so it needs a store that keeps what it knows."""
    return {
        "SLUICE_PIPELINE": "examples.agent:build",
        "SLUICE_STORE": f"sqlite:///{folder / 'a.db'}",
    }


async def test_a_tools_card_fills_while_it_streams_and_stands_after_a_reload(
    serve: "Serve", page: "Page", upstream: OfflineModel, tmp_path: Path
) -> None:
    named, written = Gate(), Gate()
    call: list[Piece] = list(tool_call_deltas("search", {"query": "tea"}))
    thought: list[Piece] = [{"reasoning_content": "Let me "}, {"reasoning_content": "look."}]
    upstream.script(
        Reply([*thought, call[0], named, *call[1:]], "tool_calls"),
        Reply(["It is **9", written, " euros**."]),
    )
    async with serve(**asking(upstream), **agent(tmp_path)) as base:
        await page.goto(base)
        await ask(page, "What is the price of tea?")
        await expect(page.locator(f'{RUNNING} .tool[data-status="started"] .name')).to_have_text(
            "search"
        )
        await expect(page.locator(f"{CARD} .arguments")).to_be_hidden()
        named.release()
        await expect(page.locator(f'{RUNNING} .tool[data-status="completed"]')).to_be_visible()
        await expect(page.locator(f"{RUNNING} .text")).to_have_text("It is **9")
        written.release()
        await page.locator(COMPLETED).wait_for()
        for told in ("live", "replayed"):
            if told == "replayed":
                await page.reload()
            await expect(page.locator(f"{COMPLETED} .verified")).to_be_visible()
            await expect(page.locator(f"{CARD} .arguments pre")).to_have_text('{ "query": "tea" }')
            await expect(page.locator(f"{CARD} .result pre")).to_contain_text("Green tea: 9 euros")
            await expect(page.locator(f"{LIVE} .data .name")).to_have_text("sources")
            await expect(page.locator(f"{LIVE} .data pre")).to_contain_text("example.com/tea")
            await expect(page.locator(f"{LIVE} .text strong")).to_have_text("9 euros")
            await expect(page.locator(f"{LIVE} .thought")).to_be_hidden()


async def test_reasoning_unfolds_and_cards_fold_by_keyboard(
    serve: "Serve", page: "Page", tmp_path: Path
) -> None:
    async with serve(**agent(tmp_path)) as base:
        await page.goto(base)
        await ask(page, "Convert 12 euros to won")
        await page.locator(COMPLETED).wait_for(timeout=20_000)
        await expect(page.locator(f"{LIVE} .text strong")).to_have_text("18,000 won")
        first = page.locator(f"{LIVE} .reasoning").first
        await first.locator("summary").focus()
        await page.keyboard.press("Enter")
        await expect(first.locator(".thought")).to_contain_text("Convert 12 euros to won")
        await page.keyboard.press("Tab")
        await expect(first.locator(".thought")).to_be_focused()
        await page.locator(f"{CARD} summary").focus()
        await page.keyboard.press("Space")
        await expect(page.locator(f"{CARD} .result")).to_be_hidden()


async def test_a_stopped_answers_open_card_has_stopped(
    serve: "Serve", page: "Page", upstream: OfflineModel, tmp_path: Path
) -> None:
    gate = Gate()
    call: list[Piece] = list(tool_call_deltas("search", {"query": "tea"}))
    upstream.script(Reply([call[0], gate, *call[1:]], "tool_calls"))
    async with serve(**asking(upstream), **agent(tmp_path)) as base:
        await page.goto(base)
        await ask(page, "What is the price of tea?")
        await expect(page.locator(CARD)).to_be_visible()
        await page.get_by_role("button", name="Stop").click()
        await page.locator(CANCELLED).wait_for()
        await expect(page.locator(f'{CARD}[data-status="stopped"]')).to_be_visible()
        gate.release()
        upstream.script(Reply(["Again."]))
        await page.get_by_role("button", name="Try again").click()
        await page.locator(COMPLETED).wait_for()
        await expect(page.locator(f"{LIVE} .text")).to_have_text("Again.")


async def test_whoever_runs_a_graph_that_declares_nobody_is_told_what_to_set(
    serve: "Serve", page: "Page", upstream: OfflineModel, tmp_path: Path
) -> None:
    upstream.script(Reply(["All at once."]))
    silent = {"SLUICE_PIPELINE": "tests.e2e.undeclared:build"}
    async with serve(**asking(upstream), **silent) as base:
        await page.goto(base)
        await ask(page, "Why in one piece?")
        await page.locator(COMPLETED).wait_for()
        advice = page.locator(f"{LIVE} .advice")
        await expect(advice).to_contain_text("no node of the graph speaks")
        await expect(advice).to_contain_text("these can call a model: answer")
        await expect(page.locator(f"{LIVE} .note")).to_be_hidden()
        await page.reload()
        await expect(page.locator(f"{COMPLETED} .verified")).to_be_visible()
        await expect(advice).to_contain_text("SLUICE_SPEAKING_NODES")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_malicious_markdown_is_harmless_and_what_stands_behind_it_is_shown(
    page: "Page", service: str, upstream: OfflineModel, scheme: Any
) -> None:
    await page.emulate_media(color_scheme=scheme)
    upstream.script_when(speaks, Reply([EVIL[at : at + 997] for at in range(0, len(EVIL), 997)]))
    await page.goto(service)
    await ask(page, "Do harm")
    await page.locator(COMPLETED).wait_for(timeout=30_000)
    await expect(page.locator(f"{LIVE} .text > p").last).to_have_text("The end.")
    inside = page.locator("#messages :is(img, script, iframe, b, [onclick], [onerror])")
    await expect(inside).to_have_count(0)
    hrefs = await page.locator(f"{LIVE} .text a").evaluate_all("all => all.map(a => a.href)")
    assert hrefs == ["https://example.com/?a=%22onclick=alert(9)"]
    assert await page.locator(f"{LIVE} .text pre code").text_content() == (
        "</code></pre><script>alert(7)</script>\n"
    )
