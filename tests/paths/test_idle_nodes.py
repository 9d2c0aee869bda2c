"""A node whose silence LangGraph bounds: what it writes for the user is no silence."""

import asyncio
from typing import Any

import pytest
from langgraph.config import get_stream_writer
from langgraph.func import task
from langgraph.graph import START, StateGraph
from langgraph.types import TimeoutPolicy

from sluice.domain.errors import PipelineError
from sluice.domain.ports import LLMClientPort
from tests.paths import graphs
from tests.paths.conftest import Path
from tests.paths.graphs import SPEAKS, Node, State

IDLE = 0.1
"""Seconds of silence that a node may have."""


async def write_on(chunk: object) -> None:
    """Long past the bound, and never silent: each turn of the loop writes."""
    loop, write = asyncio.get_running_loop(), get_stream_writer()
    over = loop.time() + 2 * IDLE
    while loop.time() < over:
        write(chunk)
        await asyncio.sleep(0)


async def in_the_node(state: State) -> dict[str, str]:
    await write_on({"token": "a"})
    return {"answer": "a"}


async def in_a_task(state: State) -> dict[str, str]:
    await task(write_on)("nothing that is told")
    return {"answer": "a"}


INNER = graphs.chain(("in", in_a_task, SPEAKS)).compile()


def timed(node: Any, policy: TimeoutPolicy) -> Any:
    graph = StateGraph(State).add_node("timed", node, metadata=SPEAKS, timeout=policy)
    return graph.add_edge(START, "timed")


@pytest.mark.parametrize("node", [in_the_node, INNER])
async def test_what_is_written_is_a_sign_of_life(path: Path, node: Node) -> None:
    def build(llm: LLMClientPort) -> Any:
        return timed(node, TimeoutPolicy(idle_timeout=IDLE))

    assert (await path.tell(build)).done.answer == "a"


async def test_where_a_heartbeat_is_asked_for_nothing_else_is_one(path: Path) -> None:
    policy = TimeoutPolicy(idle_timeout=IDLE, refresh_on="heartbeat")
    await path.fail(lambda llm: timed(in_the_node, policy), PipelineError)
