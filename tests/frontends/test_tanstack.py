"""What `@tanstack/ai-client` shows of what goes wrong, is taken back, asked again or stopped."""

import asyncio
from typing import Any

import pytest

from sluice.domain.errors import UpstreamTruncated
from sluice.domain.events import Done, Reset, Token
from tests.frontends.packages import node
from tests.http.house import House, serving

pytestmark = pytest.mark.usefixtures("packages")


async def tanstack(scenario: str, house: House, **given: Any) -> Any:
    return await node("ag_ui.mjs", f"tanstack_{scenario}", url=house.url, **given)


def shown(told: Any) -> list[str]:
    return [one["text"] for one in told["messages"]]


@pytest.mark.parametrize("reason", ["revised", "new_attempt"])
async def test_what_is_taken_back_is_gone(reason: Any) -> None:
    plays = [Token("wrong", "a"), Reset(reason), Token("right", "a"), Done("A2", "right")]
    async with serving(*plays) as house:
        told = await tanstack("asks", house, questions=["Why?"])
    assert (told["errors"], shown(told)) == ([], ["Why?", "right"])


async def test_a_failure_is_an_error_and_what_was_said_stays() -> None:
    async with serving(Token("yes", "a"), UpstreamTruncated()) as house:
        told = await tanstack("asks", house, questions=["Why?"])
    assert (told["status"], told["errors"]) == ("error", [UpstreamTruncated.public])
    assert shown(told) == ["Why?", "yes"]


async def test_a_refusal_is_an_error_with_its_status() -> None:
    async with serving(Done("A2", "yes"), max_message_bytes=2) as house:
        told = await tanstack("asks", house, questions=["Why?"])
        assert house.pipeline.asked == []
    assert told["status"] == "error"
    assert "413" in told["errors"][0]


async def test_an_answer_made_anew_is_a_retry_of_the_same_question() -> None:
    async with serving(Token("yes", "a"), Done("A2", "yes")) as house:
        told = await tanstack("asks_anew", house, question="Why?")
        first, second = house.pipeline.asked
        assert second.job.retry_of == first.job.id
    assert (told["errors"], shown(told)) == ([], ["Why?", "yes"])


@pytest.mark.parametrize(("client", "codes"), [("tanstack", []), ("agent", ["abort"])])
async def test_stopping_stops_reading_and_the_job_goes_on(client: str, codes: list[str]) -> None:
    """AG-UI's own agent calls that an error, of its own making."""
    async with serving(Token("yes", "a"), asyncio.Event()) as house:
        told = await node("ag_ui.mjs", f"{client}_stops", url=house.url, question="Why?")
        (job,) = house.log._logs
        assert (await house.client.get(f"/api/v1/jobs/{job}")).json()["status"] == "running"
        await house.client.delete(f"/api/v1/jobs/{job}")
    assert [one["code"] for one in told["errors"]] == codes
    assert shown(told) == ["Why?", "yes"]
