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
