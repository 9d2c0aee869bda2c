"""A graph whose checkpoints build on each other: what its state holds at one of them."""

import operator
from typing import Annotated, Any, TypedDict

import pytest

from sluice.domain.graph_state import Advanced, Head
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.place import found
from tests.unit.small_graphs import THREAD, MemorySaver, a_question, ran

pytest.importorskip("langgraph.channels.delta", reason="a newer LangGraph")


def joined(before: list[str], updates: Any) -> list[str]:
    return [*before, *(one for update in updates for one in update)]


def graph_of(saver: MemorySaver, *, delta: bool) -> WatchedGraph:
    from langgraph.channels.delta import DeltaChannel
    from langgraph.graph import START, StateGraph

    class State(TypedDict, total=False):
        answer: str
        notes: Annotated[list[str], DeltaChannel(joined) if delta else operator.add]

    async def note(state: State) -> State:
        return {"notes": ["x"], "answer": "y"}

    built = StateGraph(State).add_node("note", note).add_edge(START, "note")
    return WatchedGraph(built, new_saver=lambda: saver, keeps=True)


@pytest.mark.filterwarnings("ignore:DeltaChannel")
@pytest.mark.parametrize("delta", [True, False])
async def test_its_values_are_whole_however_a_checkpoint_keeps_them(delta: bool) -> None:
    saver = MemorySaver()
    graph = graph_of(saver, delta=delta)
    assert graph.builds_on is delta
    heads: list[Head] = []
    for message in ("one", "two"):
        head = heads[-1] if heads else THREAD
        outcome = await ran(graph, a_question(message, id=message, head=head))
        assert isinstance(outcome, Advanced)
        heads.append(outcome.head)
    notes = [(await graph.values_at(await found(saver, head)))["notes"] for head in heads]
    assert notes == [["x"], ["x", "x"]]
