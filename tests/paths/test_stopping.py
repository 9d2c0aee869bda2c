"""On both paths: who stops listening, at whatever moment, stops the graph and the model."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from sluice.domain.errors import PipelineError
from sluice.domain.events import Event, StageStarted, Token
from sluice.domain.ports import LLMClientPort
from sluice.offline_model.replies import Gate, Reply
from tests.paths import graphs
from tests.paths.conftest import Path, question
from tests.paths.graphs import SPEAKS, State


async def test_a_node_that_has_heard_enough_says_no_more_and_hangs_up(path: Path) -> None:
    path.model.script(Reply(pieces=["one ", "two ", "three"], hold_after=2, gate=Gate()))

    def build(llm: LLMClientPort) -> Any:
        async def answer(state: State) -> dict[str, str]:
            async with aclosing(llm.stream("?")) as texts:
                return {"answer": await anext(texts)}

        return graphs.chain(("answer", answer, SPEAKS))

    told = await path.tell(build)
    assert told.done.answer == "one "
    if path.speaks:
        assert told.tokens == [Token("one ", "answer")]
    await path.model.until_idle()


@pytest.mark.parametrize("after", [0, 1])
async def test_closing_early_stops_the_model(path: Path, after: int) -> None:
    gate = Gate()
    path.model.script(Reply(pieces=["a", "b"], hold_after=after, gate=gate))
    async with path.running(graphs.answering) as events:
        assert await anext(events) == StageStarted("answer", 0)
        following = asyncio.ensure_future(anext(events))
        await gate.reached()
        if path.speaks and after:
            assert await following == Token("a", "answer")
        else:
            following.cancel()
            await asyncio.wait([following])
    await path.model.until_idle()


async def test_closing_between_two_events_stops_the_graph(path: Path) -> None:
    path.model.script(Reply(pieces=["a"], hold_after=0, gate=Gate()))
    async with path.running(graphs.answering) as events:
        assert await anext(events) == StageStarted("answer", 0)
    await path.model.until_idle()


@pytest.mark.parametrize("path", ["A1", "A2-messages"], indirect=True)  # the others read none
async def test_a_reader_that_breaks_while_it_tells_leaves_no_generator(path: Path) -> None:
    """Nobody's `tell` raises; if one did, LangGraph's generator would stand at a yield."""

    def tell(event: Event) -> None:
        raise RuntimeError

    with pytest.raises(PipelineError):
        await path.pipeline(graphs.answering).run(question(), tell)
    await path.model.until_idle()


async def test_a_cancelled_run_stops_the_model(path: Path) -> None:
    gate = Gate()
    path.model.script(Reply(pieces=["a"], hold_after=0, gate=gate))

    async def run() -> list[Event]:
        async with path.running(graphs.answering) as events:
            return [event async for event in events]

    task = asyncio.create_task(run())
    await gate.reached()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await path.model.until_idle()
