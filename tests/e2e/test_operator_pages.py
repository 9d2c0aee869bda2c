"""The pages for who runs the service, in a real browser."""

from typing import TYPE_CHECKING

import pytest

from sluice.offline_model import Gate, OfflineModel, Reply
from tests.e2e.page import asking, speaks

if TYPE_CHECKING:
    from playwright.async_api import Page

    from .conftest import Serve

pytest.importorskip("playwright")
from playwright.async_api import expect


async def test_both_paths_answer_beside_each_other(
    serve: "Serve", page: "Page", upstream: OfflineModel
) -> None:
    half = Gate()
    upstream.script_when(speaks, Reply(["Red ", half, "and **blue**."]))
    chosen = {"SLUICE_ALLOW_PATH_HEADER": "true", "ENABLE_TOKEN_STREAMING": "50%"}
    async with serve(**chosen, **asking(upstream)) as base:
        await page.goto(f"{base}/compare")
        await page.get_by_label("Question").fill("Why?")
        await page.keyboard.press("Enter")
        one, two = page.locator("#A1"), page.locator("#A2")
        await expect(two.locator(".text")).to_have_text("Red ")
        shown = await two.locator(".first").inner_text()
        counting = await one.locator(".first").inner_text()
        await expect(one.locator(".first")).not_to_have_text(counting)
        await expect(one.locator(".text")).to_have_text("")
        await expect(one.locator(".running-stages")).to_have_text("answer")
        half.release()
        for column in (one, two):
            await expect(column.locator(".text strong")).to_have_text("blue")
            await expect(column.locator(".whole")).not_to_have_text("–")
        assert await two.locator(".first").inner_text() == shown
        assert await one.locator(".first").inner_text() == await one.locator(".whole").inner_text()
        await expect(page.locator("#ask")).to_be_enabled()
        listed = await (await page.request.get(f"{base}/api/v1/chat")).json()
        assert listed["items"] == []


async def test_a_service_that_chooses_the_path_itself_says_so(page: "Page", service: str) -> None:
    await page.goto(f"{service}/compare")
    await page.get_by_label("Question").fill("Why?")
    await page.get_by_role("button", name="Ask").click()
    await expect(page.get_by_role("alert")).to_contain_text("SLUICE_ALLOW_PATH_HEADER")
