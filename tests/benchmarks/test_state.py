"""The benchmark of stores and states measures what it says."""

import asyncio
import http.client
from contextlib import closing
from typing import Any

import pytest

from benchmarks import state
from sluice.domain.events import Done, Token
from tests.http.house import serving


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop that the service runs on."""
    return "asyncio", {"use_uvloop": True}


@pytest.mark.parametrize("ends", [True, False])
async def test_a_job_is_timed_to_the_end_of_its_answer_and_no_failure_counts(ends: bool) -> None:
    async with serving(Token("yes", "a"), Done("A2", "yes") if ends else ValueError()) as house:

        def asked() -> float:
            with closing(http.client.HTTPConnection("127.0.0.1", house.port)) as asks:
                return state.ask(asks, "a chat")

        if ends:
            assert await asyncio.to_thread(asked) > 0
            assert [each.job.message for each in house.pipeline.asked] == [state.QUESTION]
        else:
            with pytest.raises(AssertionError):
                await asyncio.to_thread(asked)


async def test_its_graph_keeps_a_call_its_result_and_an_answer_of_each_turn() -> None:
    graph: Any = state.build(None).compile()
    told = await graph.ainvoke({"messages": [("user", state.QUESTION)]})
    assert [one.type for one in told["messages"]] == ["human", "ai", "tool", "ai"]


def test_what_is_added_is_beside_memory_alone() -> None:
    rows = [
        {"store": "memory", "state": "chat", "wall_ms": [2.0, 3.0], "cpu_ms": [1.0, 1.5]},
        {"store": "SQLite", "state": "graph", "wall_ms": [4.5, 9.0], "cpu_ms": [2.0, 1.25]},
    ]
    assert state.table(rows).splitlines()[2:] == [
        "| memory | chat | 2.0 → 3.0 |  | 1.0 → 1.5 |  |",
        "| SQLite | graph | 4.5 → 9.0 | +2.5 → +6.0 | 2.0 → 1.2 | +1.0 → -0.2 |",
    ]
