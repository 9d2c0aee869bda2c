"""What a human answers to a job that asks, over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sluice.domain.events import Done, Json, StageCompleted, StageStarted, Token
from sluice.domain.graph_state import Head, InputRequest, Pause
from tests.http.house import House, serving
from tests.waiting import until

SCHEMA: dict[str, Json] = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "why": {"type": "string"}},
    "required": ["ok"],
    "additionalProperties": False,
}
PAUSE = Pause(
    Head("chat", "1"),
    (InputRequest("a", {"tool": "send"}, "form", SCHEMA), InputRequest("b", "Who?", "text")),
)
PLAYS = (
    *(StageStarted("ask", 0), Token("Well. ", "ask"), PAUSE),
    *(Token("Sent.", "ask"), StageCompleted("ask", 100)),
)
DONE = Done("A2", "Well. Sent.")


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with serving(*PLAYS, DONE, ping=0.05) as house:
        yield house


async def waiting(house: House) -> str:
    job: str = (await house.ask())["job_id"]
    async with asyncio.timeout(5), house.client.stream("GET", job_events(job)) as stream:
        async for line in stream.aiter_lines():
            if line.endswith("needs_input"):
                break
    return job


def job_events(job: str) -> str:
    return f"/api/v1/chat/{job}/events"


async def status(house: House, job: str) -> str:
    found: str = (await house.client.get(f"/api/v1/jobs/{job}")).json()["status"]
    return found


async def give(house: House, job: str, **body: Any) -> tuple[int, dict[str, Any]]:
    answer = await house.client.post(f"/api/v1/chat/{job}/input", json=body)
    return answer.status_code, answer.json() or {}


async def test_a_job_asks_and_goes_on_with_the_answers(house: House) -> None:
    job = await waiting(house)
    reading = asyncio.create_task(house.read(job))
    await until(lambda: house.log.awaited)
    assert await give(house, job, input_id="a", value={"ok": True}) == (202, {})
    assert await status(house, job) == "waiting"
    assert await give(house, job, input_id="b", value="Ann") == (202, {})
    frames = [frame for frame in await reading if frame.event != "keepalive"]
    names = [frame.event for frame in frames]
    assert names == [
        "stage",
        "stage",
        "token",
        "needs_input",
        "needs_input",
        "token",
        "stage",
        "done",
    ]
    asked = frames[3].data
    assert list(asked) == ["input_id", "prompt", "schema", "kind", "expires_at"]
    assert asked["schema"] == SCHEMA
    assert asked["expires_at"].endswith("Z")
    assert [frame.id for frame in frames] == [f"1-{n}" for n in range(1, 9)]
    assert await give(house, job, input_id="b", value="Ann") == (202, {})
    assert (await give(house, job, input_id="b", value="Bob"))[0] == 409


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"input_id": "a", "value": {"ok": "yes"}}, 422, "value.ok"),
        ({"input_id": "a", "value": {}}, 422, "value: 'ok'"),
        ({"input_id": "a", "value": True}, 422, "value:"),
        ({"input_id": "a"}, 422, "value"),
        ({"input_id": 1, "value": True}, 422, "input_id"),
        ({"input_id": "a", "value": {"ok": True}, "other": 1}, 422, "other"),
        ({"input_id": "c", "value": True}, 409, ""),
        ({"type": "stop"}, 422, "type"),
    ],
)
async def test_what_is_no_answer_is_refused_and_named(
    house: House, body: dict[str, Any], status: int, field: str
) -> None:
    job = await waiting(house)
    code, problem = await give(house, job, **body)
    assert code == status
    assert problem["detail"].startswith(field)


async def test_an_answer_to_a_job_that_never_was_is_not_found(house: House) -> None:
    assert (await give(house, "nothing", input_id="a", value=1))[0] == 404


async def test_a_stream_stays_open_while_its_job_waits(house: House) -> None:
    job = await waiting(house)
    async with house.client.stream("GET", job_events(job)) as stream:
        seen = ""
        async with asyncio.timeout(5):
            async for text in stream.aiter_text():
                seen += text
                if seen.count("event: keepalive") == 2:
                    break
    assert "event: needs_input" in seen


async def test_an_answer_that_comes_too_late_is_told_so() -> None:
    async with serving(*PLAYS, DONE, input_timeout=0.01) as house:
        job = await house.asked()
        answer, problem = await give(house, job, input_id="b", value="Ann")
        assert (answer, problem["code"]) == (410, "expired")


async def test_a_waiting_job_is_stopped_at_once(house: House) -> None:
    job = await waiting(house)
    assert (await give(house, job, type="cancel"))[0] == 202
    assert (await house.read(job))[-1].event == "cancelled"
    assert (await give(house, job, input_id="b", value="Ann"))[0] == 409
