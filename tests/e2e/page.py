"""What the tests of the page see of it, and do to it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sluice.offline_model import OfflineModel

if TYPE_CHECKING:
    from playwright.async_api import Page

WHOLE_ANSWER_MS = 40_000  # at the pace of a person reading
LIVE = ".answer:last-child"
RUNNING, COMPLETED, FAILED, CANCELLED = (
    f'{LIVE}[data-state="{state}"]' for state in ("running", "completed", "failed", "cancelled")
)


def asking(upstream: OfflineModel) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": upstream.base_url,
        "OPENAI_API_KEY": "x",
        "OPENAI_MODEL": "m",
    }


def speaks(body: Mapping[str, Any]) -> bool:
    """The call for the answer, not the one for the intent."""
    return bool(body.get("stream")) and "response_format" not in body and not body.get("tools")


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


async def chat_of(page: "Page") -> dict[str, Any]:
    """The open chat as the service has it."""
    base, _, chat = page.url.partition("/#chat=")
    answer: dict[str, Any] = await (await page.request.get(f"{base}/api/v1/chat/{chat}")).json()
    return answer
