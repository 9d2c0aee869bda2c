"""How a call ends before its answer does, how often it is tried, and what is told of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, cast

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel

from sluice.application.model_calls import ModelCalls, NodeRun, current_node
from sluice.domain import errors
from sluice.domain.events import Usage
from sluice.domain.ports import LLMClientPort
from sluice.infrastructure.llm import body
from sluice.offline_model import Fault, Gate, OfflineModel, Reply
from sluice.offline_model import Usage as Counted

from .llm_clients import REAL, client

PIECES = ("a", "b", "c", "d")
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


class Verdict(BaseModel):
    label: str


Ask = Callable[[LLMClientPort], Awaitable[Any]]


async def listen(llm: LLMClientPort) -> str:
    async with aclosing(llm.stream("What?")) as pieces:
        return "".join([piece async for piece in pieces])


ASKING: dict[str, Ask] = {
    "stream": listen,
    "complete": lambda llm: llm.complete("What?"),
    "structured": lambda llm: llm.structured("What?", Verdict),
    "call_tool": lambda llm: llm.call_tool("What?", [TOOL]),
}


@pytest.fixture(params=REAL)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def llm(kind: str, model: OfflineModel) -> AsyncIterator[LLMClientPort]:
    async with client(kind, model.base_url) as llm:
        yield llm


@pytest.mark.parametrize("asking", ASKING)
async def test_a_call_that_says_more_than_an_answer_may_hold_is_ended(
    kind: str, model: OfflineModel, asking: str
) -> None:
    """Where it grows too large, not where it ends: this one never would."""
    model.script(Reply(("가" * 4, "나" * 4), hold_after=2, gate=Gate()))
    async with client(kind, model.base_url, max_answer=23) as llm, asyncio.timeout(5):
        with pytest.raises(errors.AnswerTooLarge):
            await ASKING[asking](llm)
        await model.until_idle()


@pytest.mark.parametrize("asking", ASKING)
@pytest.mark.parametrize(
    "fault",
    [Fault.HANG_BEFORE_STATUS, Fault.HANG_AFTER_HEADERS, Fault.HANG_MID_STREAM],
    ids=lambda fault: fault.value,
)
async def test_a_cancelled_call_hangs_up(
    llm: LLMClientPort, model: OfflineModel, fault: Fault, asking: str
) -> None:
    model.script(Reply(PIECES, fault=fault))
    call = asyncio.ensure_future(ASKING[asking](llm))
    await model.until_called(1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await model.until_idle()
    assert len(model.disconnects) == 1


@pytest.mark.usefixtures("no_generator_left")
@pytest.mark.parametrize("way", ["plain", "decoded"])
async def test_a_closed_stream_hangs_up(
    llm: LLMClientPort, model: OfflineModel, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """`decoded`: through httpx2, as a compressed body is read."""
    if way == "decoded":
        monkeypatch.setattr(body, "plain_body", lambda _: None)
    model.script(Reply(PIECES, hold_after=2, gate=Gate()))
    async with aclosing(llm.stream("What?")) as pieces:
        assert await anext(pieces) == "a"
    await model.until_idle()
    assert len(model.disconnects) == 1


async def test_a_stream_that_is_never_heard_calls_nobody(
    llm: LLMClientPort, model: OfflineModel
) -> None:
    async with aclosing(llm.stream("What?")):
        pass
    assert model.opened == 0


async def test_three_hundred_hung_calls_leave_nothing_open(
    llm: LLMClientPort, model: OfflineModel
) -> None:
    before = asyncio.all_tasks()
    model.script_when(lambda _: True, Reply(fault=Fault.HANG_BEFORE_STATUS))
    calls = [asyncio.create_task(llm.complete(str(n))) for n in range(300)]
    await model.until_called(300)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await model.until_idle()
    assert len(model.disconnects) == 256  # as many as it keeps
    left = asyncio.all_tasks() - before
    assert [task for task in left if "OfflineModel" not in repr(task)] == []


async def test_a_connection_is_used_again_after_a_whole_answer(
    llm: LLMClientPort, model: OfflineModel
) -> None:
    for _ in range(3):
        await llm.complete("What?")
    assert (model.opened, model.connections) == (3, 1)


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.RESET_BEFORE_ANSWER])
async def test_a_call_is_tried_again_before_its_first_token(
    kind: str, model: OfflineModel, fault: Fault
) -> None:
    model.script(Reply(PIECES, fault=fault), Reply(PIECES))
    async with client(kind, model.base_url, retries=1) as llm:
        assert await listen(llm) == "abcd"
    assert (model.opened, model.retries) == (2, 1)


async def test_no_call_is_tried_more_often_than_told(kind: str, model: OfflineModel) -> None:
    model.script_when(lambda _: True, Reply(PIECES, fault=Fault.RATE_LIMITED_BRIEFLY))
    async with client(kind, model.base_url, retries=2) as llm:
        with pytest.raises(errors.UpstreamRateLimited):
            await listen(llm)
    assert (model.opened, model.retries) == (3, 2)


async def test_a_call_is_not_tried_again_after_its_first_token(
    kind: str, model: OfflineModel
) -> None:
    model.script(Reply(PIECES, fault=Fault.RESET_MID_STREAM))
    async with client(kind, model.base_url, retries=2) as llm:
        with pytest.raises(errors.UpstreamDisconnected):
            await listen(llm)
    assert model.opened == 1


async def test_a_wait_longer_than_the_deadline_is_not_begun(kind: str, model: OfflineModel) -> None:
    model.script(Reply(PIECES, fault=Fault.RATE_LIMITED_FOR_LONG))
    async with client(kind, model.base_url, retries=2) as llm, asyncio.timeout(5):
        with pytest.raises(errors.UpstreamRateLimited):
            await listen(llm)
    assert model.opened == 1


async def test_the_first_token_deadline_spans_the_retries(kind: str, model: OfflineModel) -> None:
    model.script(Reply(PIECES, fault=Fault.SERVER_ERROR), Reply(PIECES))
    async with client(kind, model.base_url, retries=1, first_token_timeout=0.3) as llm:
        with pytest.raises(errors.UpstreamTimeout):
            await listen(llm)
    assert model.opened == 1


@pytest.mark.parametrize("speaks", [True, False])
async def test_the_raw_client_tells_the_job_of_each_call(model: OfflineModel, speaks: bool) -> None:
    calls = ModelCalls()
    current_node.set(NodeRun(calls, "answer", speaks=speaks))
    used = Counted(10, 4)
    model.script(Reply(PIECES, finish_reason="length", usage=used), Reply(PIECES, usage=used))
    async with client("raw", model.base_url) as llm:
        assert await listen(llm) == "abcd"
        await llm.complete("What?")
    assert calls.usage == Usage(20, 8, 28)
    assert calls.finish_reason == ("length" if speaks else None)


class Seen(AsyncCallbackHandler):
    """What LangChain tells of the calls it makes."""

    def __init__(self) -> None:
        self.tags: list[list[str]] = []
        self.results: list[LLMResult] = []

    async def on_chat_model_start(self, *_: Any, tags: list[str] | None = None, **__: Any) -> None:
        self.tags.append(tags or [])

    async def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        self.results.append(response)


async def seen_by_langchain(model: OfflineModel, ask: Ask) -> Seen:
    seen = Seen()
    async with client("langchain", model.base_url) as llm:

        async def node(_: object) -> None:
            await ask(llm)

        await RunnableLambda(node).ainvoke(None, {"callbacks": [seen]})
    return seen


async def test_langchain_learns_how_a_call_ended(model: OfflineModel) -> None:
    model.script(Reply(PIECES, finish_reason="length", usage=Counted(10, 4)))
    [result] = (await seen_by_langchain(model, listen)).results
    message = cast("Any", result.generations[0][0]).message
    assert message.content == "abcd"
    assert message.response_metadata["finish_reason"] == "length"
    assert message.usage_metadata == {"input_tokens": 10, "output_tokens": 4, "total_tokens": 14}


@pytest.mark.parametrize("asking", ASKING)
async def test_only_a_stream_may_speak(model: OfflineModel, asking: str) -> None:
    model.script(Reply(['{"label": "a"}']))
    [tags] = (await seen_by_langchain(model, ASKING[asking])).tags
    assert ("nostream" in tags) == (asking != "stream")


async def test_a_slow_listener_is_no_timeout(kind: str, model: OfflineModel) -> None:
    loop = asyncio.get_running_loop()
    model.script(Reply(PIECES))
    async with (
        client(kind, model.base_url, idle_timeout=0.2) as llm,
        aclosing(llm.stream("What?")) as pieces,
    ):
        assert await anext(pieces) == "a"
        loop.call_later(0.5, (busy := asyncio.Event()).set)
        await busy.wait()
        assert [piece async for piece in pieces] == ["b", "c", "d"]
