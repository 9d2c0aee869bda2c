"""`langgraph-sdk` for JavaScript and for Python, and the classic `useStream`, unmodified."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import pytest

from sluice.application.scheduling import Bounds
from sluice.domain.errors import UpstreamTruncated
from sluice.domain.events import Done, Event, Reset, StageCompleted, StageStarted, Token
from tests.cuts import CUT_IN_TIME, CUT_WITHIN_S, CUTS
from tests.frontends import beside
from tests.frontends.cutting import Cut, CuttingProxy, cutting
from tests.frontends.packages import node
from tests.http.house import House, serving
from tests.http.protocols.test_langgraph import clients, run, said
from tests.http.test_frame_writer import one_by_one
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("packages")

ANSWER = "무색 페트병\u2028은 'data: x'\n\nevent: done\r\n 👩\u200d👧 투명"
TOKENS = [Token(piece, "answer") for piece in ANSWER]
STARTED, COMPLETED = StageStarted("answer", 10), StageCompleted("answer", 100, "made")
LONG = ANSWER * 12
NEVER_JOINED = [Token(piece, "ab"[number % 2]) for number, piece in enumerate(LONG)]
"""Tokens of two nodes in turn: a reader that is behind gets them one by one, too."""
CHATS = CUTS // 4


async def langgraph(scenario: str, house: House | CuttingProxy, **given: Any) -> Any:
    return await node("langgraph_v1.mjs", scenario, url=house.url, **given)


def question(text: str = "Why?", message_id: str = "h1") -> dict[str, str]:
    return {"type": "human", "id": message_id, "content": text}


async def test_the_javascript_sdk_asks_and_finds_what_was_said() -> None:
    async with serving(STARTED, *TOKENS, COMPLETED, Done("A2", ANSWER)) as house:
        told = await langgraph("asks", house, question="Why?")
    answer = {"type": "ai", "id": f"msg_{told['run']}", "content": ANSWER}
    assert told["created"] == {"run_id": told["run"], "thread_id": told["thread"]}
    assert told["said"] == {answer["id"]: ANSWER}
    assert told["values"] == [[question()], [question(), answer]]
    assert told["state"] == told["joined"] == [question(), answer]
    assert (told["status"], told["last"]) == ("success", "end")
    assert told["found"] == [told["thread"]]


async def test_the_javascript_sdk_is_told_what_is_refused() -> None:
    async with serving(Done("A2", ANSWER)) as house:
        told = await langgraph("is_refused", house)
    assert told["status"] == 422
    assert '"detail":"input.messages: must be there' in told["message"]


async def test_a_page_shows_questions_answers_and_stages() -> None:
    async with serving(STARTED, *TOKENS, COMPLETED, Done("A2", ANSWER)) as house:
        told = await langgraph("page_asks", house, questions=["Why?", "And then?"])
        assert [turn.content for turn in house.pipeline.asked[1].history] == ["Why?", ANSWER]
    assert [one["content"] for one in told["messages"]] == ["Why?", ANSWER, "And then?", ANSWER]
    assert (told["errors"], told["finished"]) == ([], 2)
    assert [(one["stage"], one["status"]) for one in told["events"][:3]] == [
        ("queued", "completed"), ("answer", "started"), ("answer", "completed"),
    ]  # fmt: skip


async def test_a_page_is_asked_and_goes_on_with_the_answer() -> None:
    async with serving(*beside.PAUSES) as house:
        told = await langgraph("page_is_asked", house, question="Why?", value=True)
        resumption = house.pipeline.asked[-1].resumption
        assert resumption is not None
        assert resumption.answers == {"i1": True}
    question = {"id": "i1", "value": "May I send it?"}
    assert {name: told["interrupt"][name] for name in question} == question
    assert [one["content"] for one in told["before"]] == ["Why?", "Well. "]
    assert (told["waits"], told["next"]) == ("interrupted", ["answer"])
    assert told["tasks"][0]["interrupts"] == [question]
    assert told["runs"][1] == f"{told['runs'][0]}.2"
    assert (told["status"], told["left"], told["errors"]) == ("success", None, [])
    assert [one["content"] for one in told["messages"]] == ["Why?", "Well. Sent."]


async def test_a_page_shows_tools_and_reasoning_as_messages_and_data_as_an_event() -> None:
    async with serving(*beside.PLAYS) as house:
        told = await langgraph("page_told_beside", house, question="Why?")
    assert told["errors"] == []
    assert {"type": "data", "name": "sources", "data": [{"url": "https://example.com/tea"}],
            "node": "tools"} in told["events"]  # fmt: skip
    assert "human ai ai tool" in told["seen"]
    _, thought, search, found, convert, failed, answer = told["messages"]
    (block,) = thought["content"]
    assert (block["type"], block["reasoning"]) == ("reasoning", "Let me see.")
    (call,) = search["tool_calls"]
    assert (call["name"], call["args"]) == ("search", {"query": "tea"})
    assert (found["type"], found["content"]) == ("tool", "Green tea: 9 euros.")
    assert found["tool_call_id"] == call["id"]
    assert convert["tool_calls"][0]["name"] == "convert"
    assert (failed["status"], failed["content"]) == ("error", beside.FAILED)
    assert answer["content"] == beside.ANSWER
    assert [one["id"] for one in told["state"]] == [one["id"] for one in told["messages"]]


@pytest.mark.parametrize("reason", ["revised", "new_attempt"])
async def test_a_page_drops_what_is_taken_back(reason: Any) -> None:
    plays = [STARTED, Token("wrong", "a"), Reset(reason), Token("right", "a"), COMPLETED]
    async with serving(*plays, Done("A2", "right")) as house:
        told = await langgraph("page_asks", house, questions=["Why?"])
    assert [one["content"] for one in told["messages"]] == ["Why?", "right"]


async def test_a_failure_is_an_error_of_the_page_and_what_was_said_stays() -> None:
    async with serving(Token("yes", "a"), UpstreamTruncated()) as house:
        told = await langgraph("page_asks", house, questions=["Why?"])
    assert told["errors"] == [f"upstream_truncated: {UpstreamTruncated.public}"]
    assert told["error"] == told["errors"][0]
    assert told["finished"] == 0
    assert [one["content"] for one in told["messages"]] == ["Why?", "yes"]


@pytest.mark.parametrize("reconnect", [False, True])
async def test_stopping_keeps_what_was_said(reconnect: bool) -> None:
    """With a way back the page also stops the run; without one it only leaves."""
    held = asyncio.Event()
    async with serving(Token("yes", "a"), held, Done("A2", "yes")) as house:
        told = await langgraph("page_stops", house, question="Why?", reconnect=reconnect)
        assert [one["content"] for one in told["messages"]] == ["Why?", "yes"]
        job = (await house.client.get(f"/api/v1/jobs/{told['run']}")).json()
        assert job["status"] == ("cancelled" if reconnect else "running")
        assert told["errors"] == []
        held.set()


async def test_a_page_that_is_loaded_again_goes_on() -> None:
    async with serving(STARTED, *one_by_one(TOKENS * 5), Done("A2", ANSWER * 5)) as house:
        told = await langgraph("page_reloads", house, question="Why?")
        assert len(house.pipeline.asked) == 1
    assert [one["content"] for one in told["messages"]] == ["Why?", ANSWER * 5]
    assert told["messages"][0]["id"] == "h1"
    assert told["errors"] == []


async def test_two_tabs_show_one_answer() -> None:
    async with serving(STARTED, *one_by_one(TOKENS * 5), Done("A2", ANSWER * 5)) as house:
        one, other = await langgraph("two_tabs", house, question="Why?")
        assert len(house.pipeline.asked) == 1
    assert one["messages"] == other["messages"]
    assert [each["content"] for each in one["messages"]] == ["Why?", ANSWER * 5]


@asynccontextmanager
async def cut_often(by: Cut) -> AsyncIterator[tuple[House, CuttingProxy]]:
    """No job ends before all are back after a cut: one that asks behind that takes it for the end.

    Nor does a proper end come within a frame: these clients hand out what there is of it.
    """
    held = asyncio.Event()
    plays: Sequence[Event | asyncio.Event] = [*NEVER_JOINED, held, Done("A2", LONG)]
    bounds = Bounds(running=CHATS, user_running=CHATS)
    async with (
        serving(*plays, bounds=bounds) as house,
        cutting(house.port, by, longest=1500, framed=by == "end") as proxy,
    ):

        async def release() -> None:
            await until(lambda: proxy.streams == CUTS + CHATS, within=CUT_WITHIN_S, every=0.05)
            held.set()

        releasing = asyncio.create_task(release())
        yield house, proxy
        await releasing
        assert proxy.cuts == CUTS
        assert len(house.pipeline.asked) == CHATS


@CUT_IN_TIME
@pytest.mark.parametrize("by", ["reset", "end"])
async def test_however_often_it_is_cut_the_javascript_sdk_has_the_whole_answer(by: Cut) -> None:
    async with cut_often(by) as (_, proxy):
        told = await langgraph("is_cut", proxy, chats=CHATS, question="Why?")
    digest = sha256(LONG.encode()).hexdigest()
    assert [(one["sha256"], one["messages"], one["last"]) for one in told] == [
        (digest, 1, "end")
    ] * CHATS


@pytest.mark.filterwarnings("ignore:Reconnecting without a Last-Event-ID")
@CUT_IN_TIME
@pytest.mark.parametrize("by", ["reset", "end"])
async def test_however_often_it_is_cut_the_python_sdk_has_the_whole_answer(by: Cut) -> None:
    async with cut_often(by) as (_, proxy), clients(proxy.url) as client:

        async def one() -> list[str]:
            thread = (await client.threads.create())["thread_id"]
            return list(said(await run(client, thread)).values())

        told = await asyncio.gather(*(one() for _ in range(CHATS)))
    assert [[sha256(text.encode()).hexdigest() for text in one] for one in told] == [
        [sha256(LONG.encode()).hexdigest()]
    ] * CHATS
