"""Which graphs may run a node again, by what they declare."""

from functools import partial
from typing import Any, TypedDict

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from sluice.infrastructure.pipeline.loops import has_loop


class State(TypedDict):
    text: str


def node(state: State) -> Any:
    return {}


def anywhere(state: State) -> Any:
    return Command(goto="a")


async def anywhere_later(state: State) -> Any:
    return Command(goto="a")


def back(state: State) -> Any:
    return "a"


def graph(*edges: tuple[Any, str], a: Any = node, b: Any = node, **options: Any) -> Any:
    built: Any = StateGraph(State).add_node("a", a, **options).add_node("b", b)
    for edge in edges:
        built.add_edge(*edge)
    return built


LINE = [(START, "a"), ("a", "b"), ("b", END)]


def looping(built: Any) -> bool:
    return has_loop(built.compile())


def test_a_line_runs_each_node_once() -> None:
    assert not looping(graph(*LINE))


@pytest.mark.parametrize(
    "edges",
    [
        [(START, "a"), ("a", "a")],
        [(START, "a"), ("a", "b"), ("b", "a")],
        [(START, "a"), ("a", "b"), (["a", "b"], "a")],
    ],
)
def test_edges_may_lead_back(edges: list[tuple[Any, str]]) -> None:
    assert looping(graph(*edges))


def test_a_way_of_several_steps_leads_back() -> None:
    built = graph(*LINE).add_node("c", node).add_edge("b", "c").add_edge("c", "a")
    assert looping(built)


def test_who_waits_for_two_nodes_does_not_lead_back() -> None:
    built = graph((START, "a"), (START, "b")).add_node("c", node).add_edge(["a", "b"], "c")
    assert not looping(built)


def test_a_branch_may_lead_to_its_ends_only() -> None:
    built = graph(*LINE)
    assert looping(graph(*LINE).add_conditional_edges("b", back, ["a", END]))
    assert not looping(built.add_conditional_edges("a", back, {"x": "b", "y": END}))


def test_a_branch_that_does_not_say_where_it_leads_may_lead_anywhere() -> None:
    assert looping(graph(*LINE).add_conditional_edges("b", back))


@pytest.mark.parametrize("function", [anywhere, anywhere_later])
def test_a_command_may_lead_anywhere(function: Any) -> None:
    assert looping(graph(*LINE, b=function))


def test_a_node_that_says_where_its_command_leads_leads_nowhere_else() -> None:
    assert not looping(graph((START, "a"), a=anywhere, destinations=("b",)))
    assert looping(graph((START, "a"), a=node, destinations=("a",)))


def test_a_graph_inside_may_hand_over_to_the_graph_above() -> None:
    inside = StateGraph(State).add_node("i", anywhere).add_edge(START, "i").compile()
    assert looping(graph(*LINE, b=inside))
    silent = StateGraph(State).add_node("i", node).add_edge(START, "i").compile()
    assert not looping(graph(*LINE, b=silent))


def test_what_is_no_function_names_no_command() -> None:
    assert not looping(graph(*LINE, b=RunnableLambda(node) | RunnableLambda(node)))
    assert not looping(graph(*LINE, b=partial(node)))
