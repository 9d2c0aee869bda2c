"""The page in a real browser, against the real service."""

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from infrastructure.offline_model import Break, Gate, OfflineModel, Reply

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

    from .conftest import Serve

pytest.importorskip("playwright")
from playwright.async_api import expect

WITHIN_MS = 5_000
WHOLE_ANSWER_MS = 40_000  # at the pace of a person reading
LIVE = ".answer:last-child"
RUNNING, COMPLETED, FAILED, CANCELLED = (
    f'{LIVE}[data-state="{state}"]' for state in ("running", "completed", "failed", "cancelled")
)
HOSTILE = (
    "<img src=x onerror=\"alert(1)\"><script>alert(2)</script><a href='javascript:alert(3)'>go</a>",
    " javascript:alert(4)\r\n\r\nevent: done\nid: 9-9\n",
    'data: {"status":"completed","answer":"forged"}\n\n',
    "\u2028\u202e{{7*7}} ]]> </div> 무색 페트병 👩‍👩‍👧",
)


def speaks(body: Mapping[str, Any]) -> bool:
    """The call for the answer, not the one for the intent."""
    return bool(body.get("stream")) and "response_format" not in body and not body.get("tools")


@pytest.fixture(scope="module")
async def upstream() -> AsyncIterator[OfflineModel]:
    async with OfflineModel(pace=0) as model:
        yield model


@pytest.fixture(scope="module")
async def service(serve: "Serve", upstream: OfflineModel) -> AsyncIterator[str]:
    upstream_settings = {
        "OPENAI_BASE_URL": upstream.base_url,
        "OPENAI_API_KEY": "x",
        "OPENAI_MODEL": "m",
    }
    async with serve(**upstream_settings) as base:
        yield base


@pytest.fixture
async def page(browser: "Browser") -> "AsyncIterator[Page]":
    """Fails the test for anything on its console, a violated policy included."""
    context = await browser.new_context()
    context.set_default_timeout(WITHIN_MS)
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    yield page
    await context.close()
    assert complaints == []


async def ask(page: "Page", text: str) -> None:
    await page.get_by_label("Message").fill(text)
    await page.keyboard.press("Enter")


async def text_of(page: "Page", selector: str = LIVE) -> str:
    text = await page.locator(f"{selector} .text").evaluate("element => element.textContent")
    return str(text)


async def stages(page: "Page") -> dict[str, str]:
    """Name to status, in the order shown."""
    found = await page.locator(f"{LIVE} .stage").evaluate_all(
        "all => all.map(one => [one.querySelector('.name').textContent, one.dataset.status])"
    )
    return dict(found)


async def test_with_the_flag_on_the_answer_comes_in_stages_and_tokens(
    serve: "Serve", page: "Page"
) -> None:
    async with serve() as base:
        await page.goto(base)
        await ask(page, "How do I resume a stream?")
        await page.locator(f"{RUNNING} .text:not(:empty)").wait_for()
        assert (await stages(page))["answer"] == "running"
        await page.locator(COMPLETED).wait_for(timeout=WHOLE_ANSWER_MS)
        await expect(page.locator(f"{LIVE} .facts")).to_contain_text("checksum matches")
        await expect(page.locator(f"{LIVE} .facts")).to_contain_text("A2")
        await expect(page.locator(f"{LIVE} .facts")).to_contain_text("offline model")
        await expect(page.locator("#offline")).to_be_visible()
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
    await expect(page.locator(f"{LIVE} .note")).to_be_visible()
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
