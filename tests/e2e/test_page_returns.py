"""Who comes back to the page: from another tab, after an outage, after everything was forgotten."""

from asyncio import sleep, timeout
from typing import TYPE_CHECKING

import pytest

from sluice.offline_model import Break, Gate, OfflineModel, Reply
from tests.e2e.page import CANCELLED, COMPLETED, LIVE, RUNNING, ask, asking, chat_of, speaks

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Page

    from .conftest import Serve

pytest.importorskip("playwright")
from playwright.async_api import expect

STOPPED = "Stopped, "


async def cut_short(page: "Page", upstream: OfflineModel, question: str) -> None:
    upstream.script_when(speaks, Reply([STOPPED, Break.HANG]))
    await ask(page, question)
    await expect(page.locator(f"{RUNNING} .text")).to_have_text(STOPPED)
    await page.get_by_role("button", name="Stop").click()
    await page.locator(CANCELLED).wait_for()


async def come_back(page: "Page") -> None:
    await page.evaluate("dispatchEvent(new Event('focus'))")


def refused(complaints: list[str], status: str) -> None:
    """What a browser says of such a response by itself is all there is."""
    assert complaints
    assert all("Failed to load resource" in told and status in told for told in complaints)
    complaints.clear()


async def test_an_answer_tried_again_stands_behind_the_one_that_failed(
    page: "Page", service: str, upstream: OfflineModel
) -> None:
    await page.goto(service)
    await cut_short(page, upstream, "Please answer")
    gate = Gate()
    upstream.script_when(speaks, Reply(["then ", "whole."], gate=gate, hold_after=1))
    await page.get_by_role("button", name="Try again").click()
    await expect(page.locator(f"{RUNNING} .text")).to_have_text("then ")
    other = await page.context.new_page()
    await other.goto(page.url)
    await page.reload()
    for tab in (page, other):
        await expect(tab.locator(".answer .text")).to_have_text([STOPPED, "then "])
    gate.release()
    for tab in (page, other):
        await tab.locator(COMPLETED).wait_for()
        await expect(tab.locator(".answer .text")).to_have_text([STOPPED, "then whole."])
        await expect(tab.locator(".question")).to_have_count(1)
        await expect(tab.get_by_role("button", name="Try again")).to_have_count(0)


async def two_tabs(page: "Page", service: str, upstream: OfflineModel, answer: str) -> "Page":
    """Both on one chat with one question; returns the other one."""
    upstream.script_when(speaks, Reply([answer]))
    await page.goto(service)
    await ask(page, "One?")
    await page.locator(COMPLETED).wait_for()
    other = await page.context.new_page()
    await other.goto(page.url)
    await expect(other.locator(COMPLETED)).to_be_visible()
    return other


async def test_another_tabs_question_is_seen_when_asking_and_when_coming_back(
    page: "Page", service: str, upstream: OfflineModel
) -> None:
    other = await two_tabs(page, service, upstream, "First.")
    upstream.script_when(speaks, Reply(["Second."]))
    await ask(page, "Two?")
    await expect(page.locator(".answer .text")).to_have_text(["First.", "Second."])
    await page.locator(COMPLETED).wait_for()
    upstream.script_when(speaks, Reply(["Third."]))
    await ask(other, "Three?")
    for _ in range(2):
        await expect(other.locator(".question .text")).to_have_text(["One?", "Two?", "Three?"])
        await expect(other.locator(".answer .text")).to_have_text(["First.", "Second.", "Third."])
        await page.get_by_label("Message").fill("A draft")
        await come_back(page)
        await expect(page.locator(".answer .text")).to_have_text(["First.", "Second.", "Third."])
        await expect(page.get_by_label("Message")).to_have_value("A draft")


async def test_coming_back_disturbs_no_running_answer_and_joins_one_from_elsewhere(
    page: "Page", service: str, upstream: OfflineModel
) -> None:
    gate = Gate()
    other = await two_tabs(page, service, upstream, "Yes.")
    upstream.script_when(speaks, Reply(["Half ", "whole."], gate=gate, hold_after=1))
    await ask(page, "Two?")
    await expect(page.locator(f"{RUNNING} .text")).to_have_text("Half ")
    standing = await page.locator(LIVE).element_handle()
    for tab in (page, other):
        await come_back(tab)
        await expect(tab.locator(f"{RUNNING} .text")).to_have_text("Half ")
        await expect(tab.get_by_role("button", name="Stop")).to_be_visible()
    gate.release()
    for tab in (page, other):
        await tab.locator(COMPLETED).wait_for()
        await expect(tab.locator(".answer .text")).to_have_text(["Yes.", "Half whole."])
    same = await page.locator(LIVE).evaluate("(now, before) => now === before", standing)
    assert same


async def test_a_question_behind_another_tabs_shows_both_answers_in_their_turn(
    page: "Page", service: str, upstream: OfflineModel
) -> None:
    other = await two_tabs(page, service, upstream, "Yes.")
    gate = Gate()
    upstream.script_when(speaks, Reply(["Half ", "whole."], gate=gate, hold_after=1))
    await ask(page, "Two?")
    await expect(page.locator(f"{RUNNING} .text")).to_have_text("Half ")
    upstream.script_when(speaks, Reply(["Last."]))
    await ask(other, "Three?")
    await expect(other.locator(".answer .text")).to_have_text(["Yes.", "Half ", ""])
    gate.release()
    for tab in (page, other):
        await tab.locator(COMPLETED).wait_for()
        await expect(tab.locator(".question .text")).to_have_text(["One?", "Two?", "Three?"])
        await expect(tab.locator(".answer .text")).to_have_text(["Yes.", "Half whole.", "Last."])


async def test_a_chat_from_elsewhere_is_listed_and_one_deleted_elsewhere_is_told_of(
    page: "Page", service: str, upstream: OfflineModel, complaints: list[str]
) -> None:
    upstream.script_when(speaks, Reply(["Yes."]))
    await page.goto(service)
    await ask(page, "A chat of this tab")
    await page.locator(COMPLETED).wait_for()
    other = await page.context.new_page()
    await other.goto(service)
    await ask(other, "A chat of the other tab")
    await other.locator(COMPLETED).wait_for()
    await come_back(page)
    await expect(page.get_by_role("link", name="A chat of the other tab")).to_be_visible()
    await page.get_by_label("Message").fill("A draft")
    chat = (await chat_of(page))["id"]
    await page.request.delete(f"{service}/api/v1/chat/{chat}")
    await come_back(page)
    await expect(page.locator("#problem")).to_contain_text("This chat was deleted")
    await expect(page.locator("#welcome")).to_be_visible()
    await expect(page.get_by_role("link", name="A chat of this tab")).to_have_count(0)
    await expect(page.get_by_label("Message")).to_have_value("A draft")
    refused(complaints, "404")


async def test_a_cut_answer_can_be_tried_again_when_its_log_is_gone(
    page: "Page", serve: "Serve", upstream: OfflineModel, complaints: list[str]
) -> None:
    async with serve(SLUICE_RETENTION="1", **asking(upstream)) as base:
        await page.goto(base)
        await cut_short(page, upstream, "Please answer")
        job = (await chat_of(page))["items"][-1]["job_id"]
        async with timeout(5):
            url = f"{base}/api/v1/jobs/{job}"
            while (await page.request.get(url)).ok:  # noqa: ASYNC110 - forgetting is silent
                await sleep(0.05)
        await page.reload()
        await expect(page.locator(f"{LIVE} .note")).to_contain_text("was not finished")
        await expect(page.locator(f"{LIVE} .note")).to_contain_text("no longer kept")
        await expect(page.locator(f"{LIVE} .text")).to_have_text(STOPPED)
        upstream.script_when(speaks, Reply(["Whole."]))
        await page.get_by_role("button", name="Try again").click()
        await page.locator(COMPLETED).wait_for()
        await expect(page.locator(".question .text")).to_have_text(["Please answer"] * 2)
        await expect(page.locator(".answer .text")).to_have_text([STOPPED, "Whole."])
        await expect(page.get_by_role("button", name="Try again")).to_have_count(0)
        refused(complaints, "404")


async def test_an_alarm_of_an_outage_goes_when_the_service_is_back(
    page: "Page", serve: "Serve", upstream: OfflineModel, tmp_path: "Path", complaints: list[str]
) -> None:
    settings = {
        **asking(upstream),
        "SLUICE_STORE": f"sqlite:///{tmp_path / 'sluice.db'}",
        "SLUICE_SHUTDOWN_GRACE": "0",
    }
    gate = Gate()
    upstream.script_when(speaks, Reply(["Half ", Break.HANG]))
    async with serve(**settings) as base:
        await page.goto(base)
        await ask(page, "Please answer")
        await expect(page.locator(f"{RUNNING} .text")).to_have_text("Half ")
    await page.get_by_role("button", name="Stop").click()
    await expect(page.locator("#problem")).to_contain_text("cannot be reached")
    upstream.script_when(speaks, Reply(["Half ", "whole."], gate=gate, hold_after=1))
    async with serve(SLUICE_PORT=base.rpartition(":")[2], **settings):
        await expect(page.locator("#problem")).to_be_hidden(timeout=20_000)
        await expect(page.locator(RUNNING)).to_be_visible()
        gate.release()
        await page.locator(COMPLETED).wait_for(timeout=20_000)
        await expect(page.locator(f"{LIVE} .text")).to_have_text("Half whole.")
        complaints.clear()
