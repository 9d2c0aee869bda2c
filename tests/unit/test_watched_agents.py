"""A prebuilt agent that declares nobody, and what else a watched graph has of its own."""

from typing import Any, ClassVar

import pytest
from langgraph.graph import START, StateGraph
from pydantic import BaseModel

from sluice.infrastructure.pipeline.finish_reasons import FinishReasons
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.nodes import WatchedNode
from tests.unit.small_graphs import SPEAKS, MemorySaver, State, a_question, chain


def model_node(state: State) -> State:
    return {"answer": "x"}


model_node.__module__ = "langchain.agents.factory"


@pytest.mark.parametrize("keeps", [True, False])
async def test_an_agent_speaks_by_its_model(keeps: bool) -> None:
    saver = MemorySaver()
    named: Any = {"data": frozenset({"model"})}
    agent = WatchedGraph(chain(model=model_node), named, lambda: saver, keeps=keeps)
    declared = agent.visibility.declared("model")
    assert (declared.speaks, declared.data) == (True, True)
    text = "the graph is an agent and declares no speaking node: model speaks"
    assert ([*agent.notices], agent.hint) == ([text], None)
    assert isinstance(agent.graph.nodes["model"].bound, WatchedNode)
    assert agent.graph.checkpointer is (saver if keeps else None)


def test_an_agent_that_declares_somebody_needs_no_notice() -> None:
    agent = WatchedGraph(chain(model=model_node, other=(model_node, SPEAKS)))
    assert not agent.visibility.declared("model").speaks
    assert [*agent.notices] == []


def test_a_graph_learns_the_ends_of_its_models_answers_by_itself() -> None:
    one, other = WatchedGraph(chain(a=model_node)), WatchedGraph(chain(a=model_node))
    assert isinstance(one.reasons, FinishReasons)
    assert one.reasons is not other.reasons


class Tone(BaseModel):
    kind: ClassVar[str] = "of voice"
    tone: str = ""


def test_a_models_context_is_its_fields_and_nothing_else_that_a_model_has() -> None:
    graph = StateGraph(State, context_schema=Tone).add_node("a", model_node).add_edge(START, "a")
    asked = a_question(metadata={"tone": "dry", "kind": "other", "model_config": {}})
    assert WatchedGraph(graph).context(asked) == {"tone": "dry"}


def test_a_graph_may_take_as_many_steps_as_its_config_says_or_langgraph() -> None:
    graph = chain(a=model_node).compile()
    assert WatchedGraph(graph).steps == WatchedGraph(graph.with_config(tags=["x"])).steps == 10_007
    assert WatchedGraph(graph.with_config(recursion_limit=30)).steps == 30


@pytest.mark.parametrize("word", ["speaks", "tools", "reasoning", "data"])
def test_a_graph_thinks_if_a_node_shows_more_than_text(word: Any) -> None:
    graph = WatchedGraph(chain(a=model_node), {word: frozenset({"a"})})
    assert graph.thinks is (word != "speaks")


async def test_a_shadow_keeps_nothing_and_leaves_the_graph_as_it_was() -> None:
    graph = WatchedGraph(chain(a=model_node), new_saver=MemorySaver, keeps=True)
    shadow = graph.shadow()
    assert (shadow.is_shadow, shadow.saver, shadow.graph.checkpointer) == (True, None, None)
    assert not graph.is_shadow
    assert graph.graph.checkpointer is graph.saver is not None


def test_only_a_graphs_own_metadata_says_that_a_second_run_does_no_harm() -> None:
    graph = chain(a=(model_node, {"shadow_safe": True})).compile()
    for config, safe in (
        ({}, False),
        ({"recursion_limit": 3}, False),
        ({"metadata": {"shadow_safe": False}}, False),
        ({"metadata": {"shadow_safe": True}}, True),
    ):
        assert WatchedGraph(graph.with_config(**config)).shadow_safe is safe
