"""LangGraph's clients ask for another answer to the same question."""

from typing import Any

import pytest

from sluice.domain.chat import Turn
from sluice.domain.events import Done, Token
from tests.frontends.packages import node
from tests.http.house import House, serving
from tests.http.protocols.test_langgraph import asking, clients, run, said

PLAYS = Token("yes", "a"), Done("A2", "yes")


def retried(house: House) -> bool:
    """The newest job answers the first one's question, and is told nothing of its answer."""
    first, *_, last = house.pipeline.asked
    assert last.history == []
    return last.job.retry_of == first.job.id


@pytest.mark.usefixtures("packages")
async def test_a_page_asks_anew_and_shows_the_question_once() -> None:
    async with serving(*PLAYS) as house:
        told = await node("langgraph_v1.mjs", "page_asks_anew", url=house.url, question="Why?")
        assert retried(house)
    assert told["errors"] == []
    assert [one["content"] for one in told["messages"]] == ["Why?", "yes", "yes"]


async def test_a_run_without_an_input_answers_the_newest_question_again() -> None:
    async with serving(*PLAYS) as house, clients(house) as client:
        thread = (await client.threads.create())["thread_id"]
        await run(client, thread, input=asking(), metadata={"a": "b"})
        told = await run(client, thread, input=None)
        assert retried(house)
        assert list(said(told).values()) == ["yes"]
        state: Any = await client.threads.get_state(thread)
        assert [one["content"] for one in state["values"]["messages"]] == ["Why?", "yes", "yes"]
        first, last = (asked.job.metadata for asked in house.pipeline.asked)
        assert first == last
        await run(client, thread, input=asking("And then?"))
        assert house.pipeline.asked[-1].history == [Turn("user", "Why?"), Turn("assistant", "yes")]


async def test_where_nothing_was_asked_a_run_wants_an_input() -> None:
    async with serving(*PLAYS) as house:
        for thread in ("", "threads/a thread of nobody/"):
            body = {"assistant_id": "agent", "input": None, "if_not_exists": "create"}
            answer = await house.client.post(f"/langgraph/{thread}runs/stream", json=body)
            assert (answer.status_code, answer.json()["detail"][:14]) == (422, "input.messages")
        assert house.pipeline.asked == []
