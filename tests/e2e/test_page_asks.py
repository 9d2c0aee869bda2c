"""An agent that asks before it acts, in a real browser: nothing is lost by a reload or a kill."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.page import COMPLETED, LIVE, RUNNING, ask, text_of
from tests.live.service import serving

if TYPE_CHECKING:
    from playwright.async_api import Page

pytest.importorskip("playwright")
from playwright.async_api import expect

CARD = f"{RUNNING} .ask"


async def test_a_question_survives_a_reload_and_a_kill_and_its_answer_goes_on_in_both_tabs(
    page: "Page", complaints: list[str], tmp_path: Path
) -> None:
    settings = {
        "SLUICE_PIPELINE": "examples.agent:build",
        "SLUICE_STATE": "graph",
        "SLUICE_STORE": f"sqlite:///{tmp_path / 'a.db'}",
    }
    async with serving(tmp_path, **settings) as service:
        await page.goto(service.url)
        await ask(page, "Order green tea")
        await page.locator(CARD).wait_for(timeout=20_000)
        await page.reload()
        await expect(page.locator(f"{CARD} legend")).to_contain_text("green tea")
        await service.kill()
        await service.start()
        await expect(page.locator(f"{RUNNING} .note")).to_be_hidden(timeout=20_000)
        await expect(page.locator(CARD)).to_have_count(1)
        other = await page.context.new_page()
        await other.goto(page.url)
        await other.locator(CARD).wait_for()
        await other.get_by_role("button", name="Approve").focus()
        await other.keyboard.press("Enter")
        for tab in (page, other):
            await tab.locator(COMPLETED).wait_for(timeout=20_000)
            await expect(tab.locator(f"{LIVE} .ask")).to_have_count(0)
            await expect(tab.locator(f"{LIVE} .verified")).to_be_visible()
            await expect(tab.locator(f"{LIVE} .tool .state")).to_have_text("done")
        assert await text_of(page) == await text_of(other)
        assert "Ordered:" in await text_of(page)
    complaints[:] = [told for told in complaints if "net::ERR" not in told]
