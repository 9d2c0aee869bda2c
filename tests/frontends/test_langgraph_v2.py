"""`@langchain/react`, unmodified, in a page; and the controller of a newer SDK than it brings."""

import asyncio
from hashlib import sha256
from typing import Any

import pytest

from sluice.application.scheduling import Bounds
from sluice.domain.errors import UpstreamTruncated
from sluice.domain.events import Done, Reset, StageCompleted, StageStarted, Token
from tests.cuts import CUT_IN_TIME, CUTS
from tests.frontends import beside
from tests.frontends.cutting import Cut, CuttingProxy, cutting
from tests.frontends.packages import node
from tests.http.house import House, serving
from tests.http.test_frame_writer import one_by_one

pytestmark = [
    pytest.mark.usefixtures("packages"),
    pytest.mark.parametrize("client", ["react", "controller"]),
]

ANSWER = "무색 페트병\u2028은 'data: x'\n\nevent: done\r\n 👩\u200d👧 투명"
TOKENS = [Token(piece, "answer") for piece in ANSWER]
STARTED, COMPLETED = StageStarted("answer", 10), StageCompleted("answer", 100, "made")
LONG = ANSWER * 6


async def langgraph(client: str, scenario: str, at: House | CuttingProxy, **given: Any) -> Any:
    return await node("langgraph_v2.mjs", scenario, client=client, url=at.url, **given)


def shown(told: Any) -> list[str]:
    return [one["content"] for one in told["messages"]]


async def test_it_shows_each_question_once_and_its_answer(client: str) -> None:
    async with serving(STARTED, *TOKENS, COMPLETED, Done("A2", ANSWER)) as house:
        told = await langgraph(client, "asks", house, questions=["Why?", "And then?"])
        assert [turn.content for turn in house.pipeline.asked[1].history] == ["Why?", ANSWER]
    assert shown(told) == ["Why?", ANSWER, "And then?", ANSWER]
    assert told["error"] is None


async def test_an_answer_without_tokens_is_shown(client: str) -> None:
    async with serving(STARTED, COMPLETED, Done("A1", ANSWER)) as house:
        told = await langgraph(client, "asks", house, questions=["Why?"])
    assert shown(told) == ["Why?", ANSWER]


async def test_tools_are_calls_and_reasoning_is_a_block(client: str) -> None:
    async with serving(*beside.PLAYS) as house:
        told = await langgraph(client, "told_beside", house, question="Why?")
    assert told["error"] is None
    assert shown(told)[-1] == beside.ANSWER
    search, convert = told["calls"]
    assert (search["name"], search["input"]) == ("search", {"query": "tea"})
    assert (search["status"], search["output"]) == ("finished", "Green tea: 9 euros.")
    # It had status `error`, until `values` showed that there is a message for it.
    assert (convert["name"], convert["output"]) == ("convert", beside.FAILED)
    assert told["reasoning"] == ["Let me see."]


async def test_an_interrupt_is_answered_and_the_message_goes_on(client: str) -> None:
    async with serving(*beside.PAUSES) as house:
        told = await langgraph(client, "is_asked", house, question="Why?", value=True)
        resumption = house.pipeline.asked[-1].resumption
        assert resumption is not None
        assert resumption.answers == {"i1": True}
    assert (told["asked"]["id"], told["asked"]["value"]) == ("i1", "May I send it?")
    assert [one["content"] for one in told["before"]] == ["Why?", "Well. "]
    assert told["error"] is None
    assert shown(told) == shown(told["late"]) == ["Why?", "Well. Sent."]


@pytest.mark.parametrize("reason", ["revised", "new_attempt"])
async def test_what_is_taken_back_is_gone(client: str, reason: Any) -> None:
    plays = [STARTED, Token("wrong", "a"), Reset(reason), Token("right", "a"), COMPLETED]
    async with serving(*plays, Done("A2", "right")) as house:
        told = await langgraph(client, "asks", house, questions=["Why?"])
    assert shown(told) == ["Why?", "right"]


async def test_a_failure_is_an_error_and_what_was_said_stays(client: str) -> None:
    async with serving(Token("yes", "a"), UpstreamTruncated()) as house:
        told = await langgraph(client, "fails", house, question="Why?", partial=True)
    assert UpstreamTruncated.public in told["error"]
    assert shown(told) == ["Why?", "yes"]


async def test_a_refusal_is_an_error(client: str) -> None:
    async with serving(Done("A2", "yes"), max_message_bytes=2) as house:
        told = await langgraph(client, "fails", house, question="Why?")
        assert house.pipeline.asked == []
    assert "too large" in told["error"]


async def test_stopping_stops_the_run_and_keeps_what_was_said(client: str) -> None:
    held = asyncio.Event()
    async with serving(Token("yes", "a"), held, Done("A2", "yes")) as house:
        told = await langgraph(client, "stops", house, question="Why?")
        state = (await house.client.get(f"/langgraph/threads/{told['thread']}/state")).json()
        assert house.pipeline.closed == 1
    assert shown(told) == ["Why?", "yes"]
    assert [one["content"] for one in state["values"]["messages"]] == ["Why?", "yes"]


async def test_a_page_loaded_in_the_middle_shows_the_whole_answer_once(client: str) -> None:
    async with serving(STARTED, *one_by_one(TOKENS * 5), Done("A2", ANSWER * 5)) as house:
        one, other = await langgraph(client, "two_tabs", house, question="Why?")
        assert len(house.pipeline.asked) == 1
    assert shown(one) == shown(other) == ["Why?", ANSWER * 5]
    assert [each["id"] for each in one["messages"]] == [each["id"] for each in other["messages"]]


async def test_a_page_loaded_after_the_end_shows_the_whole_answer_once(client: str) -> None:
    plays = [Token("wrong", "a"), Reset("revised"), *TOKENS, Done("A2", ANSWER)]
    async with serving(*plays) as house:
        one, other = await langgraph(client, "comes_later", house, question="Why?")
    assert shown(one) == shown(other) == ["Why?", ANSWER]


@CUT_IN_TIME
@pytest.mark.parametrize("by", ["reset", "end"])
async def test_however_often_it_is_cut_it_shows_the_whole_answer(client: str, by: Cut) -> None:
    plays = [STARTED, *[Token(piece, "answer") for piece in LONG], Done("A2", LONG)]
    bounds = Bounds(user_running=None, user_queued=None)
    async with (
        serving(*plays, bounds=bounds) as house,
        cutting(house.port, by, longest=20_000) as proxy,
    ):
        length = len(LONG.encode("utf-16-le")) // 2
        given = {"question": "Why?", "chats": max(10, CUTS // 4), "length": length}
        told = list[Any]()
        while proxy.cuts < CUTS:
            told += await langgraph(client, "is_cut", proxy, **given)
        assert len(house.pipeline.asked) == len(told)
    digest = sha256(LONG.encode()).hexdigest()
    assert {(one["sha256"], one["messages"], one["error"]) for one in told} == {(digest, 2, None)}
