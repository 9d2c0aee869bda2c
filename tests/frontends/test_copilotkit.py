"""`@copilotkit/core`, unmodified, which needs no runtime of its own beside Sluice."""

import asyncio
from typing import Any

import pytest

from sluice.domain.errors import UpstreamTruncated
from sluice.domain.events import Done, Reset, Token
from tests.cuts import CUT_IN_TIME, CUTS
from tests.frontends import beside
from tests.frontends.cutting import Cut, cutting
from tests.frontends.packages import node
from tests.frontends.test_ag_ui import (
    ANSWER,
    COMPLETED,
    QUICKLY,
    SLOWLY,
    STARTED,
    TOKENS,
    answers_of,
)
from tests.http.house import House, serving
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("packages")


async def copilotkit(scenario: str, house: House, **given: Any) -> Any:
    return await node("copilotkit.mjs", scenario, url=house.url, **given)


async def test_it_chats_and_shows_steps() -> None:
    async with serving(STARTED, *TOKENS, COMPLETED, Done("A2", ANSWER)) as house:
        told = await copilotkit("asks", house, questions=["Why?", "And then?"])
    assert told["errors"] == []
    assert told["steps"] == ["queued", "answer"] * 2
    assert told["messages"] == [
        *(["user", "Why?"], ["assistant", ANSWER]),
        *(["user", "And then?"], ["assistant", ANSWER]),
    ]


async def test_what_is_taken_back_is_gone() -> None:
    plays = [Token("wrong", "a"), Reset("revised"), Token("right", "a"), Done("A2", "right")]
    async with serving(*plays) as house:
        told = await copilotkit("asks", house, questions=["Why?"])
    assert told["messages"] == [["user", "Why?"], ["assistant", "right"]]


async def test_a_failure_is_an_error() -> None:
    async with serving(Token("yes", "a"), UpstreamTruncated()) as house:
        told = await copilotkit("asks", house, questions=["Why?"])
    assert told["runErrors"] == ["upstream_truncated"]
    assert told["errors"] != []


async def test_a_refusal_is_an_error_with_its_text() -> None:
    async with serving(Done("A2", "yes"), max_message_bytes=2) as house:
        told = await copilotkit("asks", house, questions=["Why?"])
    assert "HTTP 413" in told["texts"][0]
    assert "The message is too large." in told["texts"][0]


async def test_tools_and_reasoning_are_messages_and_no_tool_is_run_by_the_page() -> None:
    async with serving(*beside.PLAYS) as house:
        told = await copilotkit("told_beside", house, question="Why?")
        assert len(house.pipeline.asked) == 1
    assert told["errors"] == []
    roles = [one["role"] for one in told["messages"]]
    assert roles == ["user", "reasoning", "assistant", "tool", "assistant", "tool", "assistant"]
    assert told["messages"][-1]["content"] == beside.ANSWER


async def test_a_page_that_is_loaded_again_is_asked_and_goes_on_with_the_answer() -> None:
    async with serving(*beside.PAUSES) as house:
        told = await copilotkit("is_asked", house, question="Why?", payload=True)
        assert answers_of(house) == {"i1": True}
    assert ([one["message"] for one in told["asked"]], told["errors"]) == (["May I send it?"], [])
    assert [text for _, text in told["messages"]] == ["Why?", "Well. ", "Sent."]


async def test_who_connects_is_shown_the_thread_also_while_it_is_answered() -> None:
    async with serving(*SLOWLY) as house:
        *pages, fresh = await copilotkit("connects", house, question="Why?")
        assert len(house.pipeline.asked) == 1
    whole = [["user", "Why?"], ["assistant", ANSWER]]
    assert pages == [{"messages": whole, "errors": []}] * 3
    assert fresh == {"messages": [], "errors": []}


@CUT_IN_TIME
@pytest.mark.parametrize("by", ["reset", "end"])
async def test_a_run_that_is_cut_has_not_finished_and_is_whole_when_connected_again(
    by: Cut,
) -> None:
    """By a proper end the client is told no error; that the run did not finish it is."""
    whole = [["user", "Why?"], ["assistant", ANSWER]]
    async with serving(*QUICKLY) as house, cutting(house.port, by, longest=600) as proxy:
        given = {"url": proxy.url, "whole": house.url, "question": "Why?"}
        told = await node("copilotkit.mjs", "is_cut", runs=CUTS * 5 // 4, **given)
        assert proxy.cuts == CUTS
    assert [one["again"] for one in told] == [whole] * (CUTS * 5 // 4)
    finished = [one for one in told if one["finished"]]
    assert [(one["messages"], one["errors"]) for one in finished] == [(whole, 0)] * (CUTS // 4)
    if by == "reset":
        assert all(one["errors"] for one in told if not one["finished"])


async def test_stopping_stops_the_job() -> None:
    async with serving(Token("yes", "a"), asyncio.Event()) as house:
        told = await copilotkit("stops", house, question="Why?")
        await until(lambda: house.pipeline.closed == 1)
        (job,) = house.log._logs
        found = (await house.client.get(f"/api/v1/jobs/{job}")).json()
    assert found["status"] == "cancelled"
    assert told["messages"][-1] == ["assistant", "yes"]
