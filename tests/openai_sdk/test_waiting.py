"""How long a user's call may take, and how it is given up."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI

from sluice.infrastructure.openai_sdk.calls import Limits
from sluice.infrastructure.openai_sdk.failures import classify
from sluice.infrastructure.openai_sdk.instrumentor import OpenAIInstrumentor
from sluice.offline_model import Fault, Gate, OfflineModel, Reply
from sluice.offline_model.replies import Break
from tests.waiting import until

from .conftest import Run, chat_model
from .test_failures import ASKED, ainvoke, astream, code, failure, raw, raw_sync

HANGING = [Fault.HANG_BEFORE_STATUS, Fault.HANG_AFTER_HEADERS, Fault.HANG_MID_STREAM]


@pytest.fixture
async def hasty(no_settings: None) -> AsyncIterator[Run]:
    instrumentor = OpenAIInstrumentor(Limits(first_token=0.2, idle=0.2))
    instrumentor.instrument()
    with Run().entered() as run:
        yield run
    await instrumentor.uninstrument()


@pytest.mark.parametrize("ask", [raw, raw_sync, astream, ainvoke])
@pytest.mark.parametrize("fault", HANGING)
async def test_our_deadlines_hold_where_the_user_set_none(
    fault: Fault, ask: Callable[[str], Awaitable[None]], hasty: Run
) -> None:
    async with OfflineModel(pace=0, fault=fault) as model:
        assert code(await failure(ask(model.base_url))) == "upstream_timeout"
        await model.until_idle()


async def at_once(base_url: str) -> None:
    async with AsyncOpenAI(base_url=base_url, api_key="x", max_retries=2) as client:
        await client.chat.completions.create(**ASKED)


async def at_once_in_a_thread(base_url: str) -> None:
    with openai.OpenAI(base_url=base_url, api_key="x", max_retries=0) as client:
        await asyncio.to_thread(lambda: client.chat.completions.create(**ASKED))


async def read_later(base_url: str) -> None:
    async with AsyncOpenAI(base_url=base_url, api_key="x", max_retries=0) as client:
        raw = client.chat.completions.with_streaming_response
        async with raw.create(**ASKED) as response:
            await response.parse()


@pytest.mark.parametrize("ask", [at_once, at_once_in_a_thread, read_later])
@pytest.mark.parametrize(
    "reply", [Reply(["a", Break.HANG]), Reply(before_status=Break.HANG)], ids=["body", "status"]
)
async def test_our_deadlines_hold_for_what_is_not_streamed(
    reply: Reply, ask: Callable[[str], Awaitable[None]], model: OfflineModel, hasty: Run
) -> None:
    """With all its tries: of an answer in one piece nothing is said before its end."""
    model.script_when(lambda _: True, reply)
    async with asyncio.timeout(3):
        assert code(await failure(ask(model.base_url))) == "upstream_timeout"
    await model.until_idle()


async def test_an_answer_in_one_piece_may_not_trickle_for_ever(hasty: Run) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.02)
        writer.close()
        over.set()

    over = asyncio.Event()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(3):
        assert code(await failure(at_once(f"http://127.0.0.1:{port}/v1"))) == "upstream_timeout"
        await over.wait()
    server.close()


async def test_a_users_own_timeout_holds_for_what_is_not_streamed(
    model: OfflineModel, hasty: Run
) -> None:
    gate = Gate()
    model.script(Reply(pieces=["a"], before_status=gate))
    async with AsyncOpenAI(base_url=model.base_url, api_key="x", timeout=5) as client:
        asking = asyncio.create_task(client.chat.completions.create(**ASKED))
        await gate.reached()
        assert await asyncio.wait([asking], timeout=0.4) == (set(), {asking})
        gate.release()
        assert (await asking).choices[0].message.content == "a"


async def test_a_server_that_only_keeps_the_connection_alive_says_nothing(
    model: OfflineModel, client: AsyncOpenAI, hasty: Run
) -> None:
    model.script(Reply(pieces=["a", *[{}] * 200], pace=0.02))
    chunks = await client.chat.completions.create(**ASKED, stream=True)
    error = await failure(_all(chunks))
    assert isinstance(error, openai.APITimeoutError)
    assert hasty.teller.said == ["a"]


async def test_reasoning_keeps_the_first_deadline(
    model: OfflineModel, client: AsyncOpenAI, hasty: Run
) -> None:
    model.script(Reply(pieces=[*[{"reasoning_content": "hm"}] * 10, "a"], pace=0.05))
    await _all(await client.chat.completions.create(**ASKED, stream=True))
    assert hasty.teller.said == ["a"]


async def test_a_slow_consumer_is_no_timeout(
    model: OfflineModel, client: AsyncOpenAI, hasty: Run
) -> None:
    model.script(Reply(pieces=["a", "b"]))
    chunks = await client.chat.completions.create(**ASKED, stream=True)
    async for _ in chunks:
        await asyncio.sleep(0.1)
    assert hasty.teller.said == ["a", "b"]


@pytest.mark.parametrize("own", [60, httpx2.Timeout(60)])
async def test_a_users_own_timeout_is_kept(own: Any, model: OfflineModel, hasty: Run) -> None:
    gate = Gate()
    model.script(Reply(pieces=["a", "b"], gate=gate, hold_after=1))
    async with AsyncOpenAI(base_url=model.base_url, api_key="x", timeout=own) as client:
        reading = asyncio.create_task(
            _all(await client.chat.completions.create(**ASKED, stream=True))
        )
        await gate.reached()
        assert await asyncio.wait([reading], timeout=0.4) == (set(), {reading})
        gate.release()
        await reading
    assert hasty.teller.said == ["a", "b"]


async def test_a_users_shorter_timeout_ends_the_call(model: OfflineModel, run: Run) -> None:
    model.script(Reply(pieces=["a", "b"], fault=Fault.HANG_MID_STREAM))
    async with AsyncOpenAI(base_url=model.base_url, api_key="x", timeout=0.1) as client:
        error = await failure(_all(await client.chat.completions.create(**ASKED, stream=True)))
    assert isinstance(error, openai.APITimeoutError)
    assert run.teller.said == ["a"]


@pytest.mark.parametrize("ask", [raw, astream, ainvoke])
@pytest.mark.parametrize("fault", HANGING)
async def test_a_cancel_closes_the_upstream(
    fault: Fault, ask: Callable[[str], Coroutine[Any, Any, None]], run: Run
) -> None:
    async with OfflineModel(pace=0, fault=fault) as model:
        asking = asyncio.create_task(ask(model.base_url))
        await model.until_called(1)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        await model.until_idle(within=1)


async def test_a_cancelled_node_closes_the_upstream_of_a_synchronous_call(
    model: OfflineModel, run: Run
) -> None:
    gate = Gate()
    model.script(Reply(pieces=["a", "b"], gate=gate, hold_after=1))
    asking = asyncio.create_task(raw_sync(model.base_url))
    await gate.reached()
    await until(lambda: run.teller.said)
    run.node.open.stop()
    error = await failure(asking)
    assert classify(error) is not None
    assert len(run.node.open) == 0
    gate.release()
    await model.until_idle()


async def test_a_server_that_refuses_to_be_asked_for_usage_is_not_asked_again(
    model: OfflineModel, run: Run
) -> None:
    model.script(Reply(fault=Fault.UNPROCESSABLE), Reply(pieces=["a"]), Reply(pieces=["b"]))
    chat = chat_model(model.base_url)
    assert "".join([chunk.text async for chunk in chat.astream("?")]) == "a"
    assert "".join([chunk.text async for chunk in chat.astream("?")]) == "b"
    asked = ["stream_options" in received.body for received in model.requests]
    assert asked == [True, False, False]


async def test_usage_is_asked_for_where_langchain_leaves_it_out(
    model: OfflineModel, client: AsyncOpenAI, run: Run
) -> None:
    *_, last = [chunk async for chunk in chat_model(model.base_url).astream("?")]
    whole = await chat_model(model.base_url, streaming=True).ainvoke("?")
    refused = [chunk async for chunk in chat_model(model.base_url, stream_usage=False).astream("?")]
    await _all(await client.chat.completions.create(**ASKED, stream=True))
    assert whole.usage_metadata is not None
    assert not any(chunk.usage_metadata for chunk in refused)
    asked = ["stream_options" in received.body for received in model.requests]
    assert asked == [True, True, False, False]
    assert last.chunk_position == "last"


async def _all(chunks: Any) -> None:
    async with chunks:
        async for _ in chunks:
            pass
