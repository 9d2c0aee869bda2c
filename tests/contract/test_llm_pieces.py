"""What is told where bytes arrive, and what a node gets of it, and when."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from pytest_mock import MockerFixture

from sluice.application.model_calls import ModelCalls, NodeRun, current_node
from sluice.domain import errors
from sluice.infrastructure.llm import body
from sluice.infrastructure.llm.openai_client import OpenAILLMClient
from sluice.infrastructure.llm.upstream import ChatCompletions, Upstream
from sluice.offline_model import Break, Fault, Gate, OfflineModel, Reply
from sluice.offline_model.replies import Piece
from tests.waiting import until

LONG = 9.0
"""Seconds: nothing here is joined because they are over."""
MANY = ["ab"] * 200


@asynccontextmanager
async def client(model: OfflineModel, **settings: Any) -> AsyncIterator[OpenAILLMClient]:
    settings = {"retries": 0, "piece_interval": LONG, **settings}
    completions = ChatCompletions(Upstream(model.base_url, "key", "sluice-offline", **settings))
    try:
        yield OpenAILLMClient(completions)
    finally:
        await completions.aclose()


@asynccontextmanager
async def streaming(
    model: OfflineModel, *said: Piece, **settings: Any
) -> AsyncIterator[tuple[AsyncGenerator[str, None], list[str]]]:
    """What a node gets, and what its user is told, of an answer that begins with a piece of its
    own: that has been read.
    """
    begun = Gate()
    model.script(Reply(["first ", begun, *said]))
    told: list[str] = []
    async with (
        asyncio.timeout(5),
        client(model, **settings) as llm,
        aclosing(llm.stream("What?", emit=told.append)) as pieces,
    ):
        assert (await anext(pieces), told) == ("first ", ["first "])
        begun.release()
        yield pieces, told


async def test_a_user_is_told_what_the_node_still_waits_for(model: OfflineModel) -> None:
    held = Gate()
    async with streaming(model, "a", "b", held, "c") as (pieces, told):
        waits = asyncio.ensure_future(anext(pieces))
        await until(lambda: told == ["first ", "a", "b"])
        assert not waits.done()
        held.release()
        assert await waits == "abc"
        assert [piece async for piece in pieces] == []
    assert told == ["first ", "a", "b", "c"]


async def test_a_node_gets_what_came_within_the_interval(model: OfflineModel) -> None:
    held = Gate()
    async with streaming(model, "a", "b", held, piece_interval=0.05) as (pieces, _):
        assert await anext(pieces) in ("a", "ab")
        held.release()


async def test_a_node_gets_its_turn_after_64_pieces(model: OfflineModel) -> None:
    held = Gate()
    async with streaming(model, *MANY, held) as (pieces, told):
        assert len(await anext(pieces)) >= 64 * len("ab")
        assert len(told) - 1 >= 64
        held.release()
        async for _ in pieces:
            pass
    assert told == ["first ", *MANY]


async def test_without_an_interval_a_node_gets_each_piece(model: OfflineModel) -> None:
    async with streaming(model, "a", "b", "c", piece_interval=0) as (pieces, told):
        assert [piece async for piece in pieces] == ["a", "b", "c"] == told[1:]


async def test_of_a_node_that_is_busy_nobody_is_told_more(model: OfflineModel) -> None:
    """So that a node which breaks off has said what its user has seen."""
    sent = Gate()
    async with streaming(model, "a", "b", sent) as (pieces, told):
        await sent.reached()
        await asyncio.sleep(0)
        assert told == ["first "]
        sent.release()
        assert "".join([piece async for piece in pieces]) == "ab"


async def test_the_upstream_is_held_up_by_a_node_that_is_busy(
    model: OfflineModel, mocker: MockerFixture
) -> None:
    bodies = mocker.spy(body, "plain_body")
    long = ["x" * 65536] * 16
    async with streaming(model, *long) as (pieces, told):
        connection = bodies.spy_return._protocol
        await until(lambda: connection._reading_paused)
        assert told == ["first "]
        assert "".join([piece async for piece in pieces]) == "".join(long)
        assert not connection._reading_paused


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (Break.CUT, errors.UpstreamDisconnected),
        (b"{broken", errors.UpstreamBadResponse),
        (Break.HANG, errors.UpstreamTimeout),
    ],
)
async def test_what_came_before_a_failure_is_the_nodes(
    model: OfflineModel, end: Piece, error: type[Exception]
) -> None:
    async with streaming(model, "a", "b", end, idle_timeout=0.3) as (pieces, told):
        assert await anext(pieces) == "ab"
        assert told == ["first ", "a", "b"]
        with pytest.raises(error):
            await anext(pieces)
    await model.until_idle()


async def test_an_answer_too_large_ends_in_the_middle_of_a_wait(model: OfflineModel) -> None:
    async with streaming(model, "abc", "def", Gate(), max_answer=10) as (pieces, told):
        assert await anext(pieces) == "abc"
        with pytest.raises(errors.AnswerTooLarge):
            await anext(pieces)
    assert told == ["first ", "abc"]
    await model.until_idle()


async def test_what_fails_where_text_is_told_is_raised_in_the_node(model: OfflineModel) -> None:
    held = Gate()
    model.script(Reply(["a", held, "b", Gate()]))

    def tell(text: str) -> None:
        if text == "b":
            raise LookupError("nobody is there")

    async with (
        asyncio.timeout(5),
        client(model) as llm,
        aclosing(llm.stream("What?", emit=tell)) as pieces,
    ):
        assert await anext(pieces) == "a"
        held.release()
        with pytest.raises(LookupError, match="nobody is there"):
            await anext(pieces)
    await model.until_idle()


async def test_a_deadline_is_counted_from_what_was_said_in_the_middle_of_a_wait(
    model: OfflineModel,
) -> None:
    """Twice as long as the deadline, in one wait."""
    said: list[Piece] = [0.25, "a"] * 8
    model.script(Reply(said))
    async with client(model, first_token_timeout=1, idle_timeout=1) as llm:
        assert await llm.complete("What?") == "a" * 8


async def test_a_cancelled_wait_hangs_up(model: OfflineModel) -> None:
    async with streaming(model, "a", Gate()) as (pieces, told):
        waits = asyncio.ensure_future(anext(pieces))
        await until(lambda: told == ["first ", "a"])
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
    await model.until_idle()
    assert len(model.disconnects) == 1


async def test_a_call_for_the_program_waits_once(
    model: OfflineModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    gather = body.PushedBody.gather

    async def counted(self: body.PushedBody, take: body.Take, seconds: float) -> bool:
        waits.append(seconds)
        return await gather(self, take, seconds)

    monkeypatch.setattr(body.PushedBody, "gather", counted)
    gates = [Gate() for _ in range(5)]
    model.script(Reply([piece for gate in gates for piece in ("a", gate)]))
    async with client(model) as llm:
        asked = asyncio.ensure_future(llm.complete("What?"))
        for gate in gates:
            await gate.reached()
            gate.release()
        assert await asked == "a" * 5
    assert len(waits) <= 3  # to the end of the body, once in its middle, and that it is over


async def test_thoughts_are_told_in_the_context_of_the_node(model: OfflineModel) -> None:
    place: ContextVar[str] = ContextVar("place", default="nowhere")

    class Node(NodeRun):
        def reasoning(self, text: str) -> None:
            thoughts.append((text, place.get()))

    thoughts: list[tuple[str, str]] = []
    held = Gate()
    model.script(Reply([{"reasoning_content": "hm"}, held, {"reasoning_content": "so"}, "a"]))
    current_node.set(Node(ModelCalls(), "answer", speaks=True))
    place.set("the node")
    async with client(model) as llm:
        asked = asyncio.ensure_future(_all_of(llm))
        await held.reached()
        held.release()
        assert await asked == "a"
    assert thoughts == [("hm", "the node"), ("so", "the node")]


async def _all_of(llm: OpenAILLMClient) -> str:
    return "".join([piece async for piece in llm.stream("What?")])


@pytest.mark.parametrize("fault", [None, Fault.BYTE_BY_BYTE, Fault.RESET_MID_STREAM])
@pytest.mark.parametrize("way", ["pushed", "read", "decoded"])
async def test_every_way_of_reading_gives_the_same(
    model: OfflineModel, monkeypatch: pytest.MonkeyPatch, way: str, fault: Fault | None
) -> None:
    """`read`: with an aiohttp of another make; `decoded`: through httpx2."""
    if way == "read":
        monkeypatch.setattr(body, "_NEEDED", ("what_no_reader_has",))
    if way == "decoded":
        monkeypatch.setattr(body, "plain_body", lambda _: None)
    told: list[str] = []
    model.script(Reply(["가나", "다", "라마", "바"], fault=fault))
    async with client(model) as llm, aclosing(llm.stream("?", emit=told.append)) as pieces:
        try:
            given = [piece async for piece in pieces]
        except errors.UpstreamDisconnected:
            assert fault is Fault.RESET_MID_STREAM
        else:
            assert "".join(given) == "".join(told) == "가나다라마바"
