"""LangGraph's Agent Streaming Protocol, version 2, over plain HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any

import pytest

from sluice.domain.errors import UpstreamTimeout
from sluice.domain.events import Done, Reset, StageStarted, Token
from tests.http.house import House, serving
from tests.http.who import by_secret, token
from tests.waiting import until

WORDS = [Token(word, "answer") for word in ("무색 ", "페트병\u2028", "은")]
ANSWER = "".join(word.content for word in WORDS)
TOLD = (StageStarted("answer", 10), *WORDS, Done("A2", ANSWER))
ROOT = ["values", "checkpoints", "lifecycle", "input", "messages", "tools"]
Event = dict[str, Any]


async def start(house: House, thread: str = "t", text: str = "Why?", **headers: str) -> str:
    message = {"type": "human", "id": f"h {text}", "content": text}
    answer = await house.client.post(
        f"/langgraph/threads/{thread}/commands",
        json={
            "id": 1,
            "method": "run.start",
            "params": {"assistant_id": "agent", "input": {"messages": [message]}},
        },
        headers=headers,
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["type"], body["id"]) == ("success", 1)
    job: str = body["result"]["run_id"]
    assert answer.headers["x-sluice-job"] == job
    return job


@asynccontextmanager
async def reading(
    house: House, thread: str = "t", channels: list[str] = ROOT, **headers: str
) -> AsyncIterator[list[Event]]:
    """What one reader has been told so far."""
    told = list[Event]()
    request = house.client.stream(
        "POST",
        f"/langgraph/threads/{thread}/stream/events",
        json={"channels": channels},
        headers=headers,
    )

    async def read(lines: AsyncIterator[str]) -> None:
        async for line in lines:
            if line.startswith("data: "):
                told.append(json.loads(line[6:]))

    async with request as answer:
        assert answer.status_code == 200
        following = asyncio.create_task(read(answer.aiter_lines()))
        try:
            yield told
        finally:
            following.cancel()
            await asyncio.wait([following])


def ended(times: int = 1) -> Callable[[list[Event]], bool]:
    ends = {"completed", "failed", "interrupted"}
    return lambda told: sum(what(each) in ends for each in told) == times


def what(event: Event) -> str:
    data = event["params"]["data"]
    return str(data.get("event", event["method"]))


def contents(event: Event) -> list[str]:
    return [one["content"] for one in event["params"]["data"]["messages"]]


async def told_of(house: House, channels: list[str] = ROOT) -> list[Event]:
    async with reading(house, channels=channels) as told:
        await until(lambda: ended()(told))
        return told


async def test_a_run_is_told_in_order_and_the_question_keeps_its_id() -> None:
    async with serving(*TOLD) as house, reading(house) as told:
        job = await start(house)
        await until(lambda: ended()(told))
        assert [what(each) for each in told] == [
            "running", "values", "message-start", "content-block-start", "content-block-delta",
            "content-block-delta", "content-block-delta", "content-block-finish",
            "message-finish", "values", "completed",
        ]  # fmt: skip
        question = {"type": "human", "id": "h Why?", "content": "Why?"}
        answer = {"type": "ai", "id": f"msg_{job}", "content": ANSWER}
        values = [each["params"]["data"]["messages"] for each in told if what(each) == "values"]
        assert values == [[question], [question, answer]]
        deltas = [each["params"]["data"]["delta"] for each in told if "delta" in what(each)]
        assert "".join(delta["text"] for delta in deltas) == ANSWER
        assert told[0]["event_id"] == f"synth:{job}:1-0.1"
        seqs = [each["seq"] for each in told]
        assert seqs == sorted(set(seqs))
        assert max(seqs) < 2**53


async def test_every_event_keeps_its_id_for_whoever_reads_it_whenever() -> None:
    """Clients drop what they have seen: an id must never mean another text."""
    gates = [asyncio.Event() for _ in WORDS]
    plays = [play for pair in zip(gates, WORDS, strict=True) for play in pair]
    async with serving(*plays, Done("A2", ANSWER)) as house, reading(house) as live:
        await start(house)
        for gate, word in zip(gates, WORDS, strict=True):
            gate.set()
            said = f'"text": {json.dumps(word.content)}'
            await until(lambda said=said: said in json.dumps(live))  # type: ignore[misc]
        await until(lambda: ended()(live))
        late = await told_of(house)
        assert late == live
        assert await told_of(house, ["lifecycle", "input"]) == [
            each for each in live if each["method"] == "lifecycle"
        ]


async def test_the_stream_stays_open_from_one_question_to_the_next() -> None:
    async with serving(*TOLD) as house, reading(house) as told:
        await start(house)
        await until(lambda: ended()(told))
        await start(house, text="And?")
        await until(lambda: ended(2)(told))
        values = [contents(each) for each in told if what(each) == "values"]
        assert values[-1] == ["Why?", ANSWER, "And?", ANSWER]
        seqs = [each["seq"] for each in told]
        assert seqs == sorted(set(seqs))


async def test_a_question_that_was_asked_elsewhere_is_told_too() -> None:
    async with serving(*TOLD) as house, reading(house) as told:
        await house.ask(session_id="t")
        await until(lambda: ended()(told))
        assert contents(told[-2]) == ["Why?", ANSWER]


async def test_who_comes_later_is_told_of_the_last_run_and_what_follows() -> None:
    async with serving(*TOLD) as house:
        for text in ("One?", "Two?"):
            job = await start(house, text=text)
            await house.read(job)
        async with reading(house) as told:
            await until(lambda: ended()(told))
            assert contents(told[1]) == ["One?", ANSWER, "Two?"]
            await start(house, text="Three?")
            await until(lambda: ended(2)(told))
            assert contents(told[-2])[-2:] == ["Three?", ANSWER]


async def test_what_is_taken_back_was_in_values_before() -> None:
    plays = (WORDS[0], Reset("revised"), Token("better", "a"), Done("A2", "better"))
    async with serving(*plays) as house:
        job = await start(house)
        told = await told_of(house)
        values = [contents(each) for each in told if what(each) == "values"]
        draft = WORDS[0].content
        assert values == [["Why?"], ["Why?", draft], ["Why?"], ["Why?", "better"]]
        starts = [each["params"]["data"]["id"] for each in told if what(each) == "message-start"]
        assert starts == [f"msg_{job}", f"msg_{job}-r1"]
        state = (await house.client.get("/langgraph/threads/t/state")).json()
        assert state["values"]["messages"][1]["id"] == f"msg_{job}-r1"


async def test_a_failure_keeps_what_was_said() -> None:
    async with serving(WORDS[0], UpstreamTimeout()) as house:
        await start(house)
        told = await told_of(house)
        assert [what(each) for each in told][-4:] == [
            "content-block-finish", "message-finish", "values", "failed",
        ]  # fmt: skip
        assert contents(told[-2]) == ["Why?", WORDS[0].content]
        assert told[-1]["params"]["data"]["error"] == UpstreamTimeout.public


async def test_a_cancelled_run_is_interrupted_and_keeps_what_was_said() -> None:
    held = asyncio.Event()
    async with serving(WORDS[0], held, Done("A2", "")) as house, reading(house) as told:
        job = await start(house)
        await until(lambda: any("delta" in what(each) for each in told))
        path = f"/langgraph/threads/t/runs/{job}/cancel?wait=0&action=interrupt"
        assert (await house.client.post(path)).status_code == 202
        await until(lambda: ended()(told))
        assert what(told[-1]) == "interrupted"
        assert contents(told[-2]) == ["Why?", WORDS[0].content]


async def test_no_event_is_older_than_the_state_a_page_has_read() -> None:
    """Also of a question that was taken before the answer to the one before it had come."""
    first, second = asyncio.Event(), asyncio.Event()
    plays = (first, WORDS[0], second, Done("A2", WORDS[0].content))
    async with serving(*plays) as house:
        one = await start(house, text="One?")
        await start(house, text="Two?")
        first.set()
        second.set()
        await house.read(one)
        state = (await house.client.get("/langgraph/threads/t/state")).json()
        read = datetime.fromisoformat(state["created_at"]).timestamp() * 1000
        told = await told_of(house)
        assert min(each["params"]["timestamp"] for each in told) >= int(read)


async def test_stages_are_told_to_who_asks_for_them() -> None:
    async with serving(*TOLD) as house:
        await start(house)
        async with reading(house, channels=["custom"]) as told:
            await until(lambda: len(told) >= 2)
            payloads = [each["params"]["data"]["payload"] for each in told]
            assert [each["stage"] for each in payloads[:2]] == ["queued", "answer"]


REFUSED: list[tuple[Any, int, str]] = [
    (
        {"id": 1, "method": "input.respond", "params": {"interrupt_id": "i"}},
        404,
        "There is nothing",
    ),
    ({"id": 1, "method": "agent.getTree", "params": {}}, 422, "method"),
    ({"id": 1, "method": "run.start", "params": {}}, 422, "params.assistant_id"),
    ({"id": 1, "method": "run.start", "params": {"assistant_id": "a"}}, 422, "input.messages"),
    (
        {"id": 1, "method": "run.start", "params": {"assistant_id": "a", "input": {"more": 1}}},
        422,
        "input.messages",
    ),
    ({"method": "run.start"}, 422, "id"),
    ([], 422, "body"),
]


@pytest.mark.parametrize(("command", "status", "named"), REFUSED)
async def test_a_refused_command_is_an_error_of_the_protocol(
    command: Any, status: int, named: str
) -> None:
    async with serving(*TOLD) as house:
        answer = await house.client.post("/langgraph/threads/t/commands", json=command)
        assert answer.status_code == status
        body = answer.json()
        error = "no_such_run" if status == 404 else "invalid_argument"
        assert (body["type"], body["error"]) == ("error", error)
        assert body["message"].startswith(named)
        assert (await house.client.get("/langgraph/threads/t/state")).status_code == 404


async def test_a_thread_of_that_name_is_another_users_own() -> None:
    async with serving(*TOLD, identity=by_secret()) as house:
        ann, bob = {"x-api-key": token()}, {"x-api-key": token(sub="bob")}
        async with (
            reading(house, "t", ROOT, **ann) as hers,
            reading(house, "t", ROOT, **bob) as his,
        ):
            await start(house, **ann)
            await until(lambda: ended()(hers))
            await start(house, text="Mine?", **bob)
            await until(lambda: ended()(his))
            assert contents(his[-2])[0] == "Mine?"
            assert ended()(hers)


async def test_a_thread_is_one_of_its_readers_streams_whatever_happens_in_it() -> None:
    async with serving(*TOLD, streams=1) as house:
        path, asked = "/langgraph/threads/u/stream/events", {"channels": ROOT}
        async with reading(house) as told:
            assert (await house.client.post(path, json=asked)).status_code == 429
            for times in (1, 2):
                await start(house, text=f"Why {times}?")
                await until(partial(ended(times), told))
                assert (await house.client.post(path, json=asked)).status_code == 429
        await until(lambda: not house.follow.open)
        async with reading(house, "u"):
            pass


async def test_names_of_threads_and_models_are_as_long_as_elsewhere() -> None:
    async with serving(*TOLD) as house:
        question = {"messages": [{"type": "human", "content": "Why?"}]}
        body = {"assistant_id": "agent", "input": question, "if_not_exists": "create"}
        for size, status in ((128, 200), (129, 422)):
            path = f"/langgraph/threads/{'n' * size}"
            assert (await house.client.post(f"{path}/runs", json=body)).status_code == status
            command = {"id": 1, "method": "run.start", "params": body}
            sent = await house.client.post(f"{path}/commands", json=command)
            assert sent.status_code == status
        body["assistant_id"] = f"sluice:{'m' * 201}"
        refused = await house.client.post("/langgraph/threads/t/runs", json=body)
        assert refused.status_code == 422


async def test_a_service_that_leaves_cuts_its_readers_at_once() -> None:
    async with serving(*TOLD) as house:
        host, port = house.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        body = b'{"channels":["lifecycle"]}'
        writer.write(
            b"POST /langgraph/threads/t/stream/events HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        await asyncio.wait_for(reader.readuntil(b": open\n\n"), 5)
        house.log.hang_up()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5)
        writer.close()
