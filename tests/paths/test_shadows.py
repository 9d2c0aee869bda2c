"""A graph in the shadow leaves nothing: no state, no question to a human."""

import logging
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from sluice.application.ports import PipelinePort
from sluice.domain.errors import AsksHuman
from sluice.domain.events import Done, Event, Token
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.savers.sqlite import SqliteSaver
from sluice.infrastructure.pipeline.stage_path import StagePath
from sluice.infrastructure.pipeline.token_path import TokenPath
from sluice.infrastructure.sqlite.checkpoints import SqliteCheckpoints
from tests.paths.conftest import question
from tests.paths.graphs import State


def asking() -> Any:
    """Asks a human if it is told to."""

    async def answer(state: State) -> dict[str, str]:
        get_stream_writer()({"token": "so"})
        if state["message"] == "ask":
            interrupt("go?")
        return {"answer": "so"}

    graph = StateGraph(State)
    graph.add_node("answer", answer, metadata={"speaks": True})
    return graph.add_edge(START, "answer")


def path_over(graph: WatchedGraph, name: str) -> PipelinePort:
    return StagePath(graph) if name == "A1" else TokenPath(graph)


both = pytest.mark.parametrize("name", ["A1", "A2"])


@both
async def test_a_graph_that_may_ask_answers_and_leaves_no_checkpoint(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = SqliteCheckpoints(tmp_path / "a.db")
    await file.open()
    saver = SqliteSaver(file)
    graph = WatchedGraph(asking(), new_saver=lambda: saver)
    assert graph.saver is saver
    told: list[Event] = []
    shadow = path_over(graph.shadow(), name)
    done = await shadow.run(question("why?"), told.append)
    assert isinstance(done, Done)
    assert done.answer == "so"
    assert [one.content for one in told if isinstance(one, Token)] == ["so"] * (name == "A2")
    with pytest.raises(AsksHuman):
        await shadow.run(question("ask"), told.append)
    assert [one async for one in saver.alist(None)] == []
    assert caplog.text == "", "that its question cannot be kept is no fault of the graph's"
    await path_over(graph, name).run(question("ask"), told.append)
    assert [one async for one in saver.alist(None)], "the graph itself keeps its question"
    await file.aclose()


@both
async def test_nothing_is_left_in_a_checkpointer_of_the_graphs_own(name: str) -> None:
    own = InMemorySaver()
    graph = WatchedGraph(asking().compile(checkpointer=own))
    await path_over(graph.shadow(), name).run(question("why?"), lambda _: None)
    with pytest.raises(AsksHuman):
        await path_over(graph.shadow(), name).run(question("ask"), lambda _: None)
    assert list(own.list(None)) == []


def test_a_graph_says_by_its_metadata_that_it_may_run_in_the_shadow() -> None:
    compiled = asking().compile()
    assert not WatchedGraph(asking()).shadow_safe
    assert not WatchedGraph(compiled).shadow_safe
    assert not WatchedGraph(compiled.with_config(metadata={"shadow_safe": False})).shadow_safe
    safe = WatchedGraph(compiled.with_config(metadata={"shadow_safe": True}))
    assert safe.shadow_safe
    assert safe.shadow().visibility is safe.visibility
