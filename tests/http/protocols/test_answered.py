"""A job whose question is answered, as it is told before it has gone on."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sluice.domain.events import Done, Token
from sluice.domain.graph_state import Head, InputRequest, Pause
from tests.http.house import House, serving
from tests.http.protocols.test_ag_ui import events
from tests.http.protocols.test_ai_sdk import asked, chunks
from tests.http.test_answers import give, status
from tests.waiting import until

ASKS = Pause(Head("chat", "1"), (InputRequest("i1", "May I send it?", "text"),))
TWO = Pause(ASKS.head, (*ASKS.requests, InputRequest("i2", "And to whom?", "text")))
REST = Token("Sent.", "agent"), Done("A2", "Well. Sent.")
CHAT = "a chat"


@pytest.fixture
def held() -> asyncio.Event:
    """Set, the job goes on."""
    return asyncio.Event()


@pytest.fixture
async def house(held: asyncio.Event) -> AsyncIterator[House]:
    async with serving(Token("Well. ", "agent"), ASKS, held, *REST) as house:
        yield house


@pytest.fixture
async def half_answered() -> AsyncIterator[House]:
    """Of two questions the first has its answer."""
    async with serving(Token("Well. ", "agent"), TWO, *REST) as house:
        await answered(house)
        yield house


async def answered(house: House) -> str:
    job = await asked(house, "Why?")
    assert await status(house, job) == "waiting"
    assert await give(house, job, input_id="i1", value="yes") == (202, {})
    return job


async def rest(house: House, held: asyncio.Event, path: str) -> str:
    """What is read there, from before the job goes on."""
    reading = asyncio.create_task(house.client.get(path))
    await until(lambda: reading.done() or house.log.awaited)
    held.set()
    return (await reading).text


async def test_it_waits_no_more(house: House, held: asyncio.Event) -> None:
    job = await answered(house)
    assert await status(house, job) == "queued"
    held.set()


async def test_the_ai_sdk_that_comes_back_reads_the_rest(house: House, held: asyncio.Event) -> None:
    await answered(house)
    told = chunks(await rest(house, held, f"/api/chat/{CHAT}/stream"))
    assert told[-2]["messageMetadata"]["status"] == "completed"


async def test_tanstack_finds_a_run_to_go_on_with_and_no_question(
    house: House, held: asyncio.Event
) -> None:
    job = await answered(house)
    found = (await house.client.get(f"/ag-ui?threadId={CHAT}")).json()
    assert (found["activeRun"], found["interrupts"]) == ({"runId": job}, None)
    told = events(await rest(house, held, f"/ag-ui?threadId={CHAT}&runId={job}"))
    assert told[-1][1]["outcome"] == {"type": "success"}


async def test_langgraphs_run_behind_the_answer_is_not_over(
    house: House, held: asyncio.Event
) -> None:
    job = await answered(house)
    thread = f"/langgraph/threads/{CHAT}"
    runs: list[Any] = [
        (await house.client.get(f"{thread}/runs/{run}")).json()["status"]
        for run in (job, f"{job}.2")
    ]
    assert runs == ["interrupted", "pending"]
    shown = (await house.client.get(f"{thread}/state")).json()
    assert (shown["next"], shown["interrupts"]) == (["answer"], [])
    held.set()


async def test_langgraphs_thread_shows_what_waits_still(half_answered: House) -> None:
    client, thread = half_answered.client, f"/langgraph/threads/{CHAT}"
    waits = [{"id": "i2", "value": "And to whom?"}]
    state = (await client.get(f"{thread}/state")).json()
    assert (state["interrupts"], state["tasks"][0]["interrupts"]) == (waits, waits)
    [latest] = (await client.post(f"{thread}/history", json={})).json()
    assert latest["interrupts"] == waits
    assert (await client.get(thread)).json()["interrupts"] == {"i2": waits}


async def test_langgraphs_answer_without_an_id_is_to_the_only_one_that_waits_still(
    half_answered: House,
) -> None:
    run = {"assistant_id": "sluice", "command": {"resume": "Ann"}}
    path = f"/langgraph/threads/{CHAT}/runs/stream"
    assert (await half_answered.client.post(path, json=run)).status_code == 200
    [_, resumed] = half_answered.pipeline.asked
    assert resumed.resumption is not None
    assert resumed.resumption.answers == {"i1": "yes", "i2": "Ann"}


async def test_a_stream_that_ends_where_the_job_waits_tells_what_waits_still(
    half_answered: House,
) -> None:
    client = half_answered.client
    found = (await client.get(f"/ag-ui?threadId={CHAT}")).json()["interrupts"]
    assert [one["id"] for one in found["pending"]] == ["i2"]
    told = events((await client.get(f"/ag-ui?runId={found['runId']}")).text)
    assert [one["id"] for one in told[-1][1]["outcome"]["interrupts"]] == ["i2"]
    run = f"/langgraph/threads/{CHAT}/runs/{found['runId']}"
    values = (await client.get(f"{run}/stream?stream_mode=values")).text
    assert '"__interrupt__":[{"id":"i2","value":"And to whom?"}]' in values
    assert (await client.get(f"{run}/join")).json()["__interrupt__"][0]["id"] == "i2"
