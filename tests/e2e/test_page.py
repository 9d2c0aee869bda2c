"""The page in a real browser, against the real service."""

import json
from typing import TYPE_CHECKING

import pytest

from sluice.offline_model import Break, Gate, OfflineModel, Reply
from tests.e2e.page import (
    CANCELLED,
    COMPLETED,
    FAILED,
    LIVE,
    RUNNING,
    WHOLE_ANSWER_MS,
    ask,
    chat_of,
    speaks,
    stages,
    text_of,
)

if TYPE_CHECKING:
    from playwright.async_api import Page

    from .conftest import Serve

pytest.importorskip("playwright")
from playwright.async_api import expect

HOSTILE = (
    "<img src=x onerror=\"alert(1)\"><script>alert(2)</script><a href='javascript:alert(3)'>go</a>",
    " javascript:alert(4)\r\n\r\nevent: done\nid: 9-9\n",
    'data: {"status":"completed","answer":"forged"}\n\n',
    "\u2028\u202e{{7*7}} ]]> </div> 무색 페트병 👩‍👩‍👧",
)


async def test_with_the_flag_on_the_answer_comes_in_stages_and_tokens(
    serve: "Serve", page: "Page"
) -> None:
    async with serve() as base:
        await page.goto(base)
        await expect(page.locator("#offline")).to_be_visible()
        await ask(page, "How do I resume a stream?")
        await page.locator(f"{RUNNING} .text:not(:empty)").wait_for()
        assert (await stages(page))["answer"] == "running"
        await page.locator(COMPLETED).wait_for(timeout=WHOLE_ANSWER_MS)
        await expect(page.locator(f"{LIVE} .facts")).to_contain_text("checksum matches")
        await expect(page.locator(f"{LIVE} .facts")).to_contain_text("A2")
        await expect(page.locator(f"{LIVE} .facts")).to_contain_text("offline model")
        assert await stages(page) == dict.fromkeys(
            ["queued", "intent", "retrieve", "answer"], "completed"
        )


async def test_with_the_flag_off_the_answer_comes_whole(serve: "Serve", page: "Page") -> None:
    async with serve(ENABLE_TOKEN_STREAMING="false") as base:
        await page.goto(base)
        await ask(page, "How do I resume a stream?")
        await page.locator(f'{RUNNING} [data-status="running"]:has-text("answer")').wait_for()
        assert await text_of(page) == ""
        await page.locator(COMPLETED).wait_for(timeout=WHOLE_ANSWER_MS)
        await expect(page.locator(f"{LIVE} .facts")).to_contain_text("checksum matches")
        await expect(page.locator(f"{LIVE} .facts")).to_contain_text("A1")
        assert await text_of(page) != ""


async def test_a_reload_in_mid_answer_loses_and_doubles_nothing(
    page: "Page", service: str, upstream: OfflineModel
) -> None:
    gate = Gate()
    upstream.script_when(
        speaks, Reply(["One, ", "두울, ", "three, ", "four."], gate=gate, hold_after=2)
    )
    await page.goto(service)
    await ask(page, "Count!")
    await expect(page.locator(f"{RUNNING} .text")).to_have_text("One, 두울, ")
    await page.reload()
    await expect(page.locator(f"{RUNNING} .text")).to_have_text("One, 두울, ")
    await expect(page.locator(".question")).to_have_count(1)
    await expect(page.get_by_role("button", name="Stop")).to_be_visible()
    gate.release()
    await page.locator(COMPLETED).wait_for()
    assert await text_of(page) == "One, 두울, three, four."
    before = await stages(page)
    await page.reload()
    await page.locator(COMPLETED).wait_for()
    assert (await text_of(page), await stages(page)) == ("One, 두울, three, four.", before)
    await expect(page.locator(".answer")).to_have_count(1)


async def test_stop_ends_the_answer_and_the_call_behind_it(
    page: "Page", service: str, upstream: OfflineModel
) -> None:
    upstream.script_when(speaks, Reply(["Half ", Break.HANG]))
    await page.goto(service)
    await ask(page, "Go on for ever")
    await expect(page.locator(f"{RUNNING} .text")).to_have_text("Half ")
    await page.get_by_role("button", name="Stop").click()
    await page.locator(CANCELLED).wait_for()
    await upstream.until_idle()
    assert await text_of(page) == "Half "
    assert (await stages(page))["answer"] == "stopped"
    await expect(page.get_by_role("button", name="Send")).to_be_visible()
    await expect(page.get_by_label("Message")).to_be_focused()


async def test_a_failed_answer_says_so_and_can_be_tried_again(
    page: "Page", service: str, upstream: OfflineModel
) -> None:
    upstream.script_when(speaks, Reply(["Half ", Break.END]))
    await page.goto(service)
    await ask(page, "Please answer")
    await page.locator(FAILED).wait_for()
    assert (await stages(page))["answer"] == "failed"
    job = (await chat_of(page))["items"][-1]["job_id"]
    frames = await (await page.request.get(f"{service}/api/v1/chat/{job}/events")).text()
    request = json.loads(frames.rstrip().rpartition("data: ")[2])["request_id"]
    await expect(page.locator(f"{LIVE} .note")).to_contain_text(f"Request {request}")
    upstream.script_when(speaks, Reply(["Whole."]))
    await page.get_by_role("button", name="Try again").click()
    await page.locator(COMPLETED).wait_for()
    assert await text_of(page) == "Whole."
    await expect(page.locator(".question")).to_have_count(1)


async def test_what_a_model_says_is_text_and_nothing_else(
    page: "Page", service: str, upstream: OfflineModel
) -> None:
    upstream.script_when(speaks, Reply(list(HOSTILE)))
    await page.goto(service)
    await ask(page, HOSTILE[0])
    for _ in ("live", "replayed"):
        await expect(page.locator(f"{COMPLETED} .verified")).to_be_visible()
        assert await text_of(page) == "".join(HOSTILE)
        assert await text_of(page, ".question") == HOSTILE[0]
        inside = page.locator("#messages :is(img, script, a), #chat-list :is(img, script)")
        await expect(inside).to_have_count(0)
        await page.reload()


async def test_chats_are_listed_and_opened_by_their_address(
    page: "Page", service: str, upstream: OfflineModel
) -> None:
    upstream.script_when(speaks, Reply(["Yes."]))
    await page.goto(service)
    await ask(page, "The first chat")
    await page.locator(COMPLETED).wait_for()
    first = page.url
    await page.get_by_role("link", name="New chat").click()
    await expect(page.locator("#welcome")).to_be_visible()
    await ask(page, "The second chat")
    await page.locator(COMPLETED).wait_for()
    assert page.url != first
    await page.get_by_role("link", name="The first chat").click()
    await expect(page.locator(".question .text")).to_have_text("The first chat")
    assert page.url == first
    await page.go_back()
    await expect(page.locator(".question .text")).to_have_text("The second chat")


async def test_enter_that_ends_a_composition_does_not_send(page: "Page", service: str) -> None:
    await page.goto(service)
    box = page.get_by_label("Message")
    await box.fill("안녕")
    await box.dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True})
    await box.press("Shift+Enter")
    assert await box.input_value() == "안녕\n"
    await expect(page.locator(".question")).to_have_count(0)


async def test_while_an_answer_runs_enter_says_why_it_waits_and_keeps_the_draft(
    page: "Page", service: str, upstream: OfflineModel
) -> None:
    gate = Gate()
    upstream.script_when(speaks, Reply(["Half ", "whole."], gate=gate, hold_after=1))
    await page.goto(service)
    await expect(page.locator("#offline")).to_be_hidden()
    await ask(page, "Slowly, please")
    await expect(page.locator(f"{RUNNING} .text")).to_have_text("Half ")
    await ask(page, "And now?")
    for place in ("#status", "#hint"):
        await expect(page.locator(place)).to_contain_text("once it is over, or stop it first")
    await expect(page.get_by_label("Message")).to_have_value("And now?")
    gate.release()
    await page.locator(COMPLETED).wait_for()
    await expect(page.locator("#hint")).to_contain_text("Enter sends")
    await expect(page.locator(".question")).to_have_count(1)


async def test_a_draft_stays_with_its_chat(
    page: "Page", service: str, upstream: OfflineModel
) -> None:
    upstream.script_when(speaks, Reply(["Yes."]))
    box = page.get_by_label("Message")
    await page.goto(service)
    await ask(page, "A chat with a draft")
    await page.locator(COMPLETED).wait_for()
    await box.fill("for the old chat")
    await page.get_by_role("link", name="New chat").click()
    await expect(box).to_have_value("")
    await box.fill("for the new one")
    await page.go_back()
    await expect(box).to_have_value("for the old chat")
    await page.go_forward()
    await expect(box).to_have_value("for the new one")


async def test_a_chat_is_renamed_and_deleted_with_the_keyboard(
    page: "Page", service: str, upstream: OfflineModel
) -> None:
    upstream.script_when(speaks, Reply(["Yes."]))
    await page.goto(service)
    await ask(page, "A chat to be renamed")
    await page.locator(COMPLETED).wait_for()
    await page.get_by_role("button", name="Edit A chat to be renamed").press("Enter")
    await page.get_by_label("Title").fill("A better name")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("link", name="A better name")).to_be_visible()
    await expect(page.get_by_role("heading", name="A better name")).to_be_visible()
    for choice, count in (("Keep it", 1), ("Delete for good", 0)):
        await page.get_by_role("button", name="Edit A better name").press("Enter")
        await page.get_by_role("button", name="Delete…").press("Enter")
        await page.get_by_role("button", name=choice).press("Enter")
        await expect(page.get_by_role("link", name="A better name")).to_have_count(count)
    await expect(page.locator("#welcome")).to_be_visible()
    await expect(page.get_by_label("Message")).to_be_focused()
    await expect(page.locator("#problem")).to_be_hidden()
