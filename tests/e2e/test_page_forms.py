"""Questions that want a no, a form, or two answers, in a real browser and with keys alone."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.page import COMPLETED, LIVE, RUNNING, ask, text_of

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page

    from .conftest import Serve

pytest.importorskip("playwright")
from playwright.async_api import expect

CARD = f"{RUNNING} .ask"
SHOWN_MS = 20_000


def asks(folder: Path, graph: str) -> dict[str, str]:
    store = f"sqlite:///{folder / 'a.db'}"
    return {"SLUICE_PIPELINE": graph, "SLUICE_STATE": "graph", "SLUICE_STORE": store}


async def tab_to(page: "Page", wanted: "Locator", *, key: str = "Tab") -> None:
    """As who has no mouse comes there."""
    for _ in range(40):
        if await wanted.evaluate("element => element === document.activeElement"):
            return
        await page.keyboard.press(key)
    pytest.fail("no key leads there")


async def told(page: "Page") -> Any:
    """What the graph was told, which is its answer."""
    await page.locator(COMPLETED).wait_for(timeout=SHOWN_MS)
    await expect(page.locator(f"{LIVE} .verified")).to_be_visible()
    return json.loads(await text_of(page))


async def test_what_is_rejected_is_not_done(serve: "Serve", page: "Page", tmp_path: Path) -> None:
    async with serve(**asks(tmp_path, "examples.agent:build")) as base:
        await page.goto(base)
        await ask(page, "Order green tea")
        await page.locator(CARD).wait_for(timeout=SHOWN_MS)
        await tab_to(page, page.get_by_role("button", name="Reject"), key="Shift+Tab")
        await page.keyboard.press("Enter")
        await page.locator(COMPLETED).wait_for(timeout=SHOWN_MS)
        for _ in ("live", "replayed"):
            await expect(page.locator(f"{LIVE} .ask")).to_have_count(0)
            await expect(page.locator(f"{LIVE} .tool .state")).to_have_text("done")
            result = page.locator(f"{LIVE} .tool .result pre")
            await expect(result).to_have_text("Nothing was ordered: the user has declined.")
            assert "Ordered:" not in await text_of(page)
            await page.reload()
            await expect(page.locator(f"{LIVE} .verified")).to_be_visible(timeout=SHOWN_MS)


async def test_a_schemas_form_is_filled_and_put_right_with_keys_alone(
    serve: "Serve", page: "Page", complaints: list[str], tmp_path: Path
) -> None:
    keys = page.keyboard
    async with serve(**asks(tmp_path, "tests.e2e.forms:form")) as base:
        await page.goto(base)
        await ask(page, "Order something")
        await page.locator(CARD).wait_for(timeout=SHOWN_MS)
        await expect(page.locator(f"{CARD} legend")).to_have_text("What shall it be?")
        name = page.get_by_label("Your name")
        await expect(name).to_have_accessible_description("As on the parcel.")
        await tab_to(page, name, key="Shift+Tab")
        await keys.type("Ann")
        for typed in ("9", "2.5", "l"):
            await keys.press("Tab")
            await keys.type(typed)
        await keys.press("Tab")
        await keys.press("Space")
        await keys.press("Tab")
        await keys.type('["milk"')
        send = page.get_by_role("button", name="Send answer")
        await tab_to(page, send)
        await keys.press("Enter")
        note = page.locator(f"{CARD} .told")
        await expect(note).to_have_text("This is no JSON.")
        await tab_to(page, page.get_by_label("extras"), key="Shift+Tab")
        await keys.press("End")
        await keys.type("]")
        await tab_to(page, send)
        await keys.press("Enter")
        await expect(note).not_to_have_text("This is no JSON.")
        await expect(note).to_be_visible()
        await expect(page.locator(CARD)).to_have_count(1)
        await tab_to(page, page.get_by_label("amount"), key="Shift+Tab")
        await keys.press("Backspace")
        await keys.type("3")
        await tab_to(page, send)
        await keys.press("Enter")
        assert await told(page) == [
            {
                "name": "Ann",
                "amount": 3,
                "price": 2.5,
                "size": "large",
                "gift": True,
                "extras": ["milk"],
            }
        ]
    assert any("422" in one for one in complaints)
    complaints[:] = [one for one in complaints if "422" not in one]


async def test_two_questions_are_two_cards_and_the_answer_waits_for_both(
    serve: "Serve", page: "Page", tmp_path: Path
) -> None:
    async with serve(**asks(tmp_path, "tests.e2e.forms:two")) as base:
        await page.goto(base)
        await ask(page, "Order something")
        await expect(page.locator(CARD)).to_have_count(2, timeout=SHOWN_MS)
        tea = page.locator(CARD, has_text="Which tea?")
        await tea.get_by_label("Your answer").fill("green")
        await tea.get_by_role("button", name="Send answer").click()
        await expect(tea.locator(".told")).to_have_text("Answered.")
        await page.reload()
        amount = page.locator(CARD, has_text="How much?")
        await amount.get_by_label("Your answer").fill("3")
        await amount.get_by_role("button", name="Send answer").click()
        assert await told(page) == ["green", 3]
