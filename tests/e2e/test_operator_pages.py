"""The pages for who runs the service, in a real browser."""

import re
from typing import TYPE_CHECKING, Any

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


async def test_the_share_is_turned_with_a_confirmation_and_told_in_the_history(
    serve: "Serve", page: "Page", upstream: OfflineModel, complaints: list[str]
) -> None:
    async with serve(ENABLE_TOKEN_STREAMING="5%", **asking(upstream)) as base:
        await page.goto(f"{base}/rollout")
        await expect(page.locator("#share")).to_have_text("5 %")
        await expect(page.locator("#arms tr").first).to_contain_text("jobs")
        await page.get_by_label("New share").fill("25")
        await page.get_by_label("Why").fill("a <b>step</b>")
        await page.keyboard.press("Enter")
        await expect(page.locator("#confirm-text")).to_have_text("Turn the share from 5 % to 25 %?")
        await page.keyboard.press("Escape")
        await expect(page.locator("#share")).to_have_text("5 %")
        await page.get_by_label("Why").press("Enter")
        await page.get_by_role("button", name="Change").click()
        await expect(page.locator("#share")).to_have_text("25 %")
        row = page.locator("#history tr").first
        await expect(row).to_contain_text("a <b>step</b>")
        await page.request.put(
            f"{base}/api/v1/rollout", data={"share": 50}, headers={"If-Match": "*"}
        )
        await page.get_by_role("button", name="Stop").click()
        await page.get_by_role("button", name="Change").click()
        await expect(page.locator("#share")).to_have_text("50 %")
        await expect(page.get_by_role("alert")).not_to_be_empty()
        assert (await (await page.request.get(f"{base}/api/v1/rollout")).json())["share"] == 50
    assert [told for told in complaints if "412" not in told] == []
    complaints.clear()  # of the browser's, about the 412


async def test_a_plans_steps_and_the_guards_evidence_are_shown_on_a_phone(
    serve: "Serve", page: "Page", upstream: OfflineModel
) -> None:
    plan = {"steps": [{"share": 5}, {"share": 50}], "limits": {}}
    async with serve(ENABLE_TOKEN_STREAMING="5%", **asking(upstream)) as base:
        began = await page.request.put(
            f"{base}/api/v1/rollout", data={"plan": plan}, headers={"If-Match": "*"}
        )
        assert began.ok, await began.text()
        await page.set_viewport_size({"width": 360, "height": 700})
        await page.goto(f"{base}/rollout")
        await expect(page.locator("#steps [aria-current]")).to_have_text("5 %")
        await expect(page.get_by_role("img")).to_have_attribute(
            "aria-label", re.compile("failed"), timeout=20_000
        )
        await expect(page.locator("#verdict")).not_to_be_empty()
        wide = "document.documentElement.scrollWidth - innerWidth"
        assert await page.evaluate(wide) <= 0


async def test_who_is_no_admin_is_told_so(
    page: "Page", upstream: OfflineModel, serve: "Serve", complaints: list[str]
) -> None:
    asked = {"SLUICE_AUTH": "trusted-header", "SLUICE_ADMINS": "ann", **asking(upstream)}
    async with serve(**asked) as base:
        await page.set_extra_http_headers({"X-User-ID": "bob"})
        await page.goto(f"{base}/rollout")
        await expect(page.get_by_role("alert")).to_contain_text("SLUICE_ADMINS")
        await expect(page.locator("#share")).to_have_text("–")
    complaints.clear()  # of the browser's, about the 404


FAINT = """() => {
    const parts = color => color.match(/[\\d.]+/g).map(Number);
    const clear = color => parts(color)[3] === 0;
    const light = color => {
        const [r, g, b] = parts(color).slice(0, 3).map(part => part / 255)
            .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = one => {
        for (; one; one = one.parentElement) {
            const color = getComputedStyle(one).backgroundColor;
            if (!clear(color)) return light(color);
        }
        return 1;
    };
    const says = one => [...one.childNodes].some(each => each.nodeType === 3 && each.data.trim());
    return [...document.body.querySelectorAll("*")]
        .filter(one => says(one) && one.checkVisibility() && !one.disabled)
        .map(one => [one, light(getComputedStyle(one).color), ground(one)])
        .filter(([, ink, paper]) =>
            (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05) < 4.5)
        .map(([one]) => one.outerHTML);
}"""
"""What has less contrast than WCAG's 4.5 : 1."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_by_keys_alone_and_in_every_light(
    serve: "Serve", page: "Page", upstream: OfflineModel, scheme: Any
) -> None:
    await page.emulate_media(color_scheme=scheme)
    async with serve(ENABLE_TOKEN_STREAMING="5%", **asking(upstream)) as base:
        await page.goto(f"{base}/compare")
        await expect(page.get_by_label("Question")).to_be_visible()
        assert await page.evaluate(FAINT) == []
        await page.goto(f"{base}/rollout")
        await expect(page.locator("#share")).to_have_text("5 %")
        while await page.evaluate("document.activeElement.id") != "new-share":
            await page.keyboard.press("Tab")
        await page.keyboard.type("25")
        await page.keyboard.press("Enter")
        await expect(page.locator("#confirm-text")).to_be_visible()
        assert await page.evaluate(FAINT) == []
        await page.keyboard.press("Enter")
        await expect(page.locator("#share")).to_have_text("25 %")
        assert await page.evaluate(FAINT) == []
