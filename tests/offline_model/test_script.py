"""What a test can order, hold and observe."""

import asyncio
import time
from collections.abc import Callable

import pytest
from openai import AsyncOpenAI

from sluice.offline_model import Break, Fault, Gate, OfflineModel, Reply

from .socket_client import QUESTION, STREAM, ask, connect, request


async def test_scripted_replies_come_in_order_and_then_the_rules(model: OfflineModel) -> None:
    model.script(Reply(["one"]), Reply(["two"]))
    texts = [(await ask(model.base_url)).text for _ in range(3)]
    assert texts[:2] == ["one", "two"]
    assert "offline model" in texts[2]


async def test_a_reply_for_matching_calls_stays_and_leaves_the_others_alone(
    model: OfflineModel,
) -> None:
    model.script_when(lambda body: body.get("model") == "other", Reply(["special"]))
    model.script(Reply(["queued"]))
    other = {**STREAM, "model": "other"}
    texts = [(await ask(model.base_url, body)).text for body in (other, STREAM, other)]
    assert texts == ["special", "queued", "special"]


async def test_a_fault_that_happens_once_leaves_the_calls_it_was_meant_for(
    model: OfflineModel,
) -> None:
    model.script_when(lambda _: True, Reply(fault=Fault.SERVER_ERROR_ONCE))
    assert [(await ask(model.base_url)).status for _ in range(2)] == [500, 200]


async def test_the_latest_order_for_matching_calls_wins(model: OfflineModel) -> None:
    model.script_when(lambda _: True, Reply(["old"]))
    model.script_when(lambda _: True, Reply(["new"]))
    assert (await ask(model.base_url)).text == "new"


async def test_a_raw_payload_is_the_whole_body_of_a_call_that_does_not_stream(
    model: OfflineModel,
) -> None:
    model.script(Reply(["a", b'{"choices":', "b"]))
    assert (await ask(model.base_url, QUESTION)).body == b'{"choices":'


async def test_a_gate_holds_the_stream_where_it_stands(
    model: OfflineModel, client: AsyncOpenAI
) -> None:
    gate = Gate()
    model.script(Reply(["a", "b", "c"], hold_after=2, gate=gate))
    stream = await client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "x"}], stream=True
    )
    async with stream:
        said = [(await anext(stream)).choices[0].delta.content for _ in range(3)]
        await gate.reached()
        gate.release()
        said += [chunk.choices[0].delta.content async for chunk in stream]
    assert said == ["", "a", "b", "c", None]


async def test_gates_can_stand_anywhere_among_the_pieces_and_before_the_status(
    model: OfflineModel,
) -> None:
    gates = [Gate() for _ in range(3)]
    model.script(Reply([gates[1], "a", gates[2], "b"], before_status=gates[0]))
    asking = asyncio.create_task(ask(model.base_url))
    for gate in gates:
        await gate.reached()
        gate.release()
    assert (await asking).text == "ab"


async def test_a_gate_holds_a_whole_answer_too(model: OfflineModel) -> None:
    gate = Gate()
    model.script(Reply(["a"], gate=gate))
    asking = asyncio.create_task(ask(model.base_url, QUESTION))
    await gate.reached()
    gate.release()
    assert (await asking).status == 200


async def test_a_gate_that_nobody_reaches_is_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        await Gate().reached(within=0)


@pytest.mark.parametrize(
    "reply",
    [
        lambda: Reply(["a", Break.HANG]),
        lambda: Reply(["a"], before_status=Break.HANG),
        lambda: Reply(["a"], gate=Gate()),
        lambda: Reply(["a"], pace=60),
        lambda: Reply(["0123456789" * 100_000] * 10),
    ],
    ids=["hanging", "before the status", "at a gate", "between pieces", "not read"],
)
@pytest.mark.parametrize("how", ["closes", "resets"])
async def test_a_client_that_leaves_is_noticed_at_once(
    model: OfflineModel, reply: Callable[[], Reply], how: str
) -> None:
    model.script(reply())
    _, writer = await connect(model.base_url)
    writer.write(request(STREAM))
    await model.until_called(1)
    assert (model.opened, model.closed, model.connections) == (1, 0, 1)
    before = time.monotonic()
    writer.close() if how == "closes" else writer.transport.abort()
    await model.until_idle()
    (left,) = model.disconnects
    assert before <= left <= time.monotonic()


async def test_a_call_that_ends_well_is_no_disconnect(model: OfflineModel) -> None:
    await ask(model.base_url)
    await ask(model.base_url, QUESTION)
    await model.until_idle()
    assert (model.opened, model.closed, list(model.disconnects)) == (2, 2, [])


async def test_waiting_is_bounded(model: OfflineModel) -> None:
    model.script(Reply([Break.HANG]))
    _, writer = await connect(model.base_url)
    writer.write(request(STREAM))
    await model.until_called(1)
    with pytest.raises(TimeoutError):
        await model.until_idle(within=0)
    with pytest.raises(TimeoutError):
        await model.until_called(2, within=0)
    writer.close()
    await model.until_idle()


async def test_requests_are_kept_as_they_came(model: OfflineModel, client: AsyncOpenAI) -> None:
    await client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "x"}], extra_headers={"X-Trace": "7"}
    )
    (received,) = model.requests
    assert received.body["messages"] == [{"role": "user", "content": "x"}]
    assert received.headers["x-trace"] == "7"


async def test_closing_drops_every_connection_and_call() -> None:
    async with OfflineModel(pace=0) as model:
        model.script(Reply([Break.HANG]))
        reader, writer = await connect(model.base_url)
        writer.write(request(STREAM))
        await model.until_called(1)
    async with asyncio.timeout(5):
        await reader.read()
    writer.close()
    assert (model.opened, model.closed, model.connections) == (1, 1, 0)
    with pytest.raises(OSError, match=r"refused|failed"):
        await connect(model.base_url)


async def test_many_calls_at_once_are_each_answered(model: OfflineModel) -> None:
    seen = await asyncio.gather(*(ask(model.base_url) for _ in range(50)))
    assert {each.lines[-1] for each in seen} == {b"[DONE]"}
    assert model.opened == 50
