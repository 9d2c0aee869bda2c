"""Two questions at once, over each protocol that can carry them, answered by its real client."""

import asyncio
from typing import Any

import pytest

from sluice.client import AsyncClient, Done, NeedsInput
from tests.frontends import beside
from tests.frontends.packages import node
from tests.http.house import House, serving
from tests.http.protocols.test_langgraph import clients, run, said

NODE = pytest.mark.usefixtures("packages")
VALUES = {"i1": True, "i2": False}
ASKED = ["May I send it?", "And post it?"]


def given_to(house: House) -> Any:
    """The answers that the job has gone on with; it was asked once and resumed once."""
    _, resumed = house.pipeline.asked
    assert resumed.resumption is not None
    return resumed.resumption.answers


@NODE
async def test_langgraphs_page_answers_both_in_one_map() -> None:
    async with serving(*beside.PAUSES_TWICE) as house:
        told = await node(
            "langgraph_v1.mjs", "page_is_asked_twice", url=house.url, question="Why?", values=VALUES
        )
        assert given_to(house) == VALUES
    assert [(one["id"], one["value"]) for one in told["asked"]] == [
        *zip(VALUES, ASKED, strict=True)
    ]
    assert told["errors"] == []
    assert [one["content"] for one in told["messages"]] == ["Why?", "Well. Sent."]


async def test_langgraphs_python_client_answers_both_in_one_map() -> None:
    async with serving(*beside.PAUSES_TWICE) as house, clients(house.url) as client:
        thread = (await client.threads.create())["thread_id"]
        first = await run(client, thread)
        assert [one["value"] for one in first[-2].data["__interrupt__"]] == ASKED
        job = first[0].data["run_id"]
        joined: Any = await client.runs.join(thread, job)
        assert [one["value"] for one in joined["__interrupt__"]] == ASKED
        assert [one["content"] for one in joined["messages"]] == ["Why?", "Well. "]
        resumed = await run(client, thread, input=None, command={"resume": VALUES})
        assert given_to(house) == VALUES
        for each in (job, f"{job}.2"):
            joined = await client.runs.join(thread, each)
            assert [one["content"] for one in joined["messages"]] == ["Why?", "Well. Sent."]
            assert "__interrupt__" not in joined
    assert list(said(resumed).values()) == ["Well. Sent."]


async def test_langgraphs_python_client_answers_one_after_the_other() -> None:
    async with serving(*beside.PAUSES_AGAIN) as house, clients(house.url) as client:
        thread = (await client.threads.create())["thread_id"]
        parts = await run(client, thread)
        for question in ASKED:
            assert [one["value"] for one in parts[-2].data["__interrupt__"]] == [question]
            state: Any = await client.threads.get_state(thread)
            assert [one["value"] for one in state["interrupts"]] == [question]
            async with asyncio.timeout(5):
                parts = await run(client, thread, input=None, command={"resume": True})
    assert list(said(parts).values()) == ["Well. Sent."]


@NODE
@pytest.mark.parametrize("client", ["react", "controller"])
async def test_the_newer_protocols_pages_answer_both_in_one_command(client: str) -> None:
    given = {"client": client, "question": "Why?", "values": VALUES}
    async with serving(*beside.PAUSES_TWICE) as house:
        told = await node("langgraph_v2.mjs", "is_asked_twice", url=house.url, **given)
        assert given_to(house) == VALUES
    assert [(one["id"], one["value"]) for one in told["asked"]] == [
        *zip(VALUES, ASKED, strict=True)
    ]
    assert (told["error"], told["left"]) == (None, 0)
    assert [one["content"] for one in told["messages"]] == ["Why?", "Well. Sent."]


@NODE
async def test_the_ai_sdk_answers_each_approval_and_goes_on_after_the_last() -> None:
    given = {"question": "Why?", "approved": [*VALUES.values()]}
    async with serving(*beside.PAUSES_TWICE) as house:
        told = await node("ai_sdk.mjs", "is_asked_twice", url=house.url, **given)
        assert given_to(house) == VALUES
    assert (told["asked"], told["errors"], told["status"]) == (ASKED, [], "ready")
    assert [one["text"] for one in told["messages"]] == ["Why?", "Well. Sent."]


@NODE
@pytest.mark.parametrize("script", ["ag_ui.mjs", "copilotkit.mjs"])
async def test_ag_uis_clients_answer_both_in_one_run(script: str) -> None:
    async with serving(*beside.PAUSES_TWICE) as house:
        told = await node(script, "is_asked", url=house.url, question="Why?", payloads=VALUES)
        assert given_to(house) == VALUES
    assert [one["message"] for one in told["asked"]] == ASKED
    texts = [one[1] if isinstance(one, list) else one["content"] for one in told["messages"]]
    assert texts == ["Why?", "Well. ", "Sent."]


@NODE
async def test_ag_uis_agent_is_asked_one_after_the_other() -> None:
    async with serving(*beside.PAUSES_AGAIN) as house:
        given = {"question": "Why?", "payload": True}
        told = await node("ag_ui.mjs", "is_asked_again", url=house.url, **given)
    assert (told["asked"], told["failed"]) == ([[ASKED[0]], [ASKED[1]]], [])
    assert [one["content"] for one in told["messages"]] == ["Why?", "Well. ", "Sent."]


async def test_a_run_of_ag_uis_with_an_answer_that_cannot_be_takes_none() -> None:
    asked = {"threadId": "t", "messages": [{"id": "u", "role": "user", "content": "Why?"}]}
    async with serving(*beside.PAUSES_TWICE) as house:
        await house.client.post("/ag-ui", json={**asked, "runId": "first"})
        for own, status, code in (("nothing", "resolved", 409), ("i2", "cancelled", 422)):
            answers = [
                {"interruptId": "i1", "status": "resolved", "payload": False},
                {"interruptId": own, "status": status},
            ]
            body = {**asked, "runId": "second", "resume": answers}
            assert (await house.client.post("/ag-ui", json=body)).status_code == code
        resume = [{"interruptId": own, "payload": value} for own, value in VALUES.items()]
        await house.client.post("/ag-ui", json={**asked, "runId": "third", "resume": resume})
        assert given_to(house) == VALUES


@NODE
async def test_tanstack_answers_both_in_one_run() -> None:
    given = {"question": "Why?", "payloads": VALUES}
    async with serving(*beside.PAUSES_TWICE) as house:
        told = await node("ag_ui.mjs", "tanstack_is_asked_twice", url=house.url, **given)
        assert given_to(house) == VALUES
    assert (told["errors"], told["asked"]) == ([], ASKED)
    assert [one["text"] for one in told["messages"]] == ["Why?", "Well. ", "Sent."]


async def test_our_own_client_answers_one_after_the_other() -> None:
    async with serving(*beside.PAUSES_TWICE) as house:
        client = AsyncClient(house.url, http=house.client)
        async for received in client.ask("Why?"):
            if isinstance(event := received.event, NeedsInput):
                await client.give_input(received.job_id, event.input_id, VALUES[event.input_id])
        assert isinstance(event, Done)
        assert (event.answer, given_to(house)) == ("Well. Sent.", VALUES)
