"""Which graphs need a saver for their pauses, and what becomes of those that have none."""

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import interrupt

from sluice.domain.errors import PipelineError
from sluice.domain.events import Event
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.savers.saver import Saver
from sluice.infrastructure.pipeline.token_path import TokenPath
from sluice.infrastructure.sqlite.checkpoints import SqliteCheckpoints
from tests.paths.conftest import Path, question
from tests.paths.pauses.jobs import State, graph


async def test_a_graph_that_asks_nothing_leaves_no_checkpoint(
    path: Path, checkpoints: SqliteCheckpoints
) -> None:
    def refuse() -> Saver:
        pytest.fail("a saver was asked for")

    async def answer(state: State) -> State:
        return {"answer": "x"}

    assert WatchedGraph(graph(answer=answer), new_saver=refuse).saver is None


async def test_a_graph_that_asks_is_refused_where_nothing_could_keep_it() -> None:
    async def ask(state: State) -> State:
        return {"answer": interrupt("?")}

    async def answer(state: State) -> State:
        return {"answer": "x"}

    with pytest.raises(TypeError, match="SLUICE_DATABASE"):
        WatchedGraph(graph(ask=ask), new_saver=lambda: None)
    stops = graph(answer=answer).compile(interrupt_before=["answer"])
    with pytest.raises(TypeError, match="stops for a human"):
        WatchedGraph(stops, new_saver=lambda: None)

    def missing() -> Saver:
        raise ImportError(name="langgraph.checkpoint.sqlite")

    with pytest.raises(TypeError, match="extra `state` is not installed"):
        WatchedGraph(graph(ask=ask), new_saver=missing)
    kept = graph(answer=answer).compile(checkpointer=InMemorySaver())
    assert WatchedGraph(kept, new_saver=missing).saver is None


async def test_a_question_that_nobody_saw_coming_fails_its_job_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def unseen() -> Any:
        return getattr(__import__("langgraph.types").types, "inter" + "rupt")

    async def ask(state: State) -> State:
        return {"answer": unseen()("?")}

    kept = graph(ask=ask).compile(checkpointer=InMemorySaver())
    pipeline = TokenPath(WatchedGraph(kept, new_saver=lambda: None))
    events: list[Event] = []
    with pytest.raises(PipelineError):
        await pipeline.run(question("m"), events.append)
    assert "the graph waits for a human" in caplog.text
    assert "the extra `state`" in caplog.text
