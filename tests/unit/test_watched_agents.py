"""A prebuilt agent that declares nobody, and what else a watched graph has of its own."""

from typing import Any

import pytest
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
    assert (agent.notice, agent.hint) == (text, None)
    assert isinstance(agent.graph.nodes["model"].bound, WatchedNode)
    assert agent.graph.checkpointer is (saver if keeps else None)


def test_an_agent_that_declares_somebody_needs_no_notice() -> None:
    agent = WatchedGraph(chain(model=model_node, other=(model_node, SPEAKS)))
    assert not agent.visibility.declared("model").speaks
    assert agent.notice is None


def test_a_graph_learns_the_ends_of_its_models_answers_by_itself() -> None:
    one, other = WatchedGraph(chain(a=model_node)), WatchedGraph(chain(a=model_node))
    assert isinstance(one.reasons, FinishReasons)
    assert one.reasons is not other.reasons


class Tone(BaseModel):
    tone: str = ""


def test_a_models_context_is_its_fields_and_nothing_else_that_a_model_has() -> None:
    from langgraph.graph import START, StateGraph

    graph = StateGraph(State, context_schema=Tone).add_node("a", model_node).add_edge(START, "a")
    asked = a_question(metadata={"tone": "dry", "model_config": {}})
    assert WatchedGraph(graph).context(asked) == {"tone": "dry"}
