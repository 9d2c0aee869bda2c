"""A run that leaves LangGraph's first step out is told, and tells, as if it had not."""

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.managed import RemainingSteps
from langsmith import tracing_context

from sluice.domain.chat import Question
from sluice.domain.events import Done, Event
from sluice.infrastructure.pipeline import direct_start
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.stage_path import StagePath
from sluice.infrastructure.pipeline.token_path import TokenPath
from tests.doubles import a_job
from tests.unit.small_graphs import MemorySaver


class State(TypedDict, total=False):
    message: str
    seen: Annotated[list[str], operator.add]
    answer: str


async def first(state: State, config: RunnableConfig) -> State:
    return {"seen": [_seen(config)]}


async def second(state: State, config: RunnableConfig) -> State:
    return {"seen": [_seen(config)]}


async def last(state: State, config: RunnableConfig) -> State:
    told = [state["message"], *state["seen"], _seen(config)]
    return {"answer": "\n".join(told)}


def _seen(config: RunnableConfig) -> str:
    metadata = config["metadata"]
    told = [metadata[f"langgraph_{name}"] for name in ("node", "step", "triggers", "path")]
    return f"{told} {config['recursion_limit']}"


def two_at_once() -> "StateGraph[Any]":
    graph = StateGraph(State)
    for node in (first, second, last):
        graph.add_node(node.__name__, node)
    graph.add_edge(START, "first")
    graph.add_edge(START, "second")
    graph.add_edge(["first", "second"], "last")
    return graph


def one_behind_the_other() -> "StateGraph[Any]":
    return StateGraph(State).add_sequence([first, second, last]).add_edge(START, "first")


async def ran(watched: WatchedGraph, path: type[TokenPath] | type[StagePath]) -> Any:
    told: list[Event] = []
    done = await path(watched).run(Question(a_job()), told.append)
    assert isinstance(done, Done)
    return told, done.answer


@pytest.mark.parametrize("build", [two_at_once, one_behind_the_other])
@pytest.mark.parametrize("path", [TokenPath, StagePath])
async def test_nodes_see_the_run_that_they_would_have_seen(
    path: type[TokenPath] | type[StagePath], build: Callable[[], Any]
) -> None:
    watched = WatchedGraph(build())
    assert watched.direct is not None
    assert START not in watched.direct.graph.nodes
    short = await ran(watched, path)
    watched.direct = None
    assert await ran(watched, path) == short


async def test_the_state_begins_with_the_input_alone() -> None:
    async def answer(state: State) -> State:
        return {"answer": ",".join(state)}

    graph = StateGraph(State)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    watched = WatchedGraph(graph)
    assert watched.direct is not None
    assert (await ran(watched, TokenPath))[1] == "message,seen"


async def test_a_state_that_is_one_value_begins_with_the_input_too() -> None:
    async def answer(state: dict[str, Any]) -> dict[str, Any]:
        return {"answer": str(state)}

    graph: Any = StateGraph(dict)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    assert (await ran(WatchedGraph(graph), TokenPath))[1] == "{}"


def with_checkpointer(graph: Any) -> Any:
    return graph.compile(checkpointer=InMemorySaver())


def with_listener(graph: Any) -> Any:
    return graph.compile().with_config(callbacks=[BaseCallbackHandler()])


def with_a_bound(graph: Any) -> Any:
    return graph.compile().with_config(recursion_limit=3)


def with_a_choice(graph: Any) -> Any:
    graph.add_conditional_edges(START, lambda _: END, [END])
    return graph


def with_a_graph_inside(graph: Any) -> Any:
    graph.add_node("inner", two_at_once().compile())
    graph.add_edge(START, "inner")
    return graph


def with_a_loop(graph: Any) -> Any:
    graph.add_edge("last", "first")
    return graph


@pytest.mark.parametrize(
    "change",
    [
        with_checkpointer,
        with_listener,
        with_a_bound,
        with_a_choice,
        with_a_graph_inside,
        with_a_loop,
    ],
)
def test_where_the_step_could_be_seen_it_is_made(change: Callable[[Any], Any]) -> None:
    assert WatchedGraph(change(two_at_once())).direct is None


def test_where_a_graph_keeps_its_state_it_is_made() -> None:
    assert WatchedGraph(two_at_once(), new_saver=MemorySaver, keeps=True).direct is None


def test_where_nodes_count_steps_it_is_made() -> None:
    class Counting(State):
        left: RemainingSteps

    graph = StateGraph(Counting)
    graph.add_node("last", last)
    graph.add_edge(START, "last")
    assert WatchedGraph(graph).direct is None


def test_where_langsmith_listens_it_is_made() -> None:
    with tracing_context(enabled=True):
        assert WatchedGraph(two_at_once()).direct is None


def test_where_langgraph_names_its_triggers_otherwise_it_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(direct_start, "_TRIGGER", "another:{}")
    assert WatchedGraph(two_at_once()).direct is None
