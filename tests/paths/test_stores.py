"""A graph that is compiled with a store has it wherever its code asks for one, on every path."""

from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_store
from langgraph.graph import END, START, StateGraph
from langgraph.prebuilt import InjectedStore
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore

from sluice.domain.ports import LLMClientPort
from sluice.offline_model.replies import Reply
from tests.paths import graphs
from tests.paths.conftest import Path
from tests.paths.graphs import SPEAKS, State

DRINKS = ("drinks",)


def store_of(value: str) -> InMemoryStore:
    store = InMemoryStore()
    store.put(DRINKS, "ann", {"likes": value})
    return store


def liked(store: BaseStore | None) -> str:
    item = store and store.get(DRINKS, "ann")
    return str(item.value["likes"]) if item else "nothing"


def by_runtime(state: State, runtime: Runtime[Any]) -> dict[str, list[str]]:
    return {"notes": [liked(runtime.store)]}


def by_config(state: State) -> dict[str, list[str]]:
    return {"notes": [liked(get_store())]}


def by_edge(state: State, runtime: Runtime[Any]) -> str:
    return "end" if liked(runtime.store) == "tea" else END


async def test_nodes_edges_and_graphs_that_are_nodes_have_the_graphs_store(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        inner = StateGraph(State).add_node("in", by_runtime).add_edge(START, "in").compile()
        graph = StateGraph(State).add_node("node", by_config).add_node("inner", inner)
        graph.add_node("end", lambda state: {"answer": " ".join({*state["notes"]})})
        graph.add_edge(START, "node").add_edge("node", "inner")
        graph.add_conditional_edges("inner", by_edge, ["end", END])
        return graph.compile(store=store_of("tea"))

    assert (await path.tell(build)).done.answer == "tea"


async def test_a_tool_of_an_agent_has_the_agents_store(path: Path) -> None:
    @tool
    def remember(drink: str, store: Annotated[Any, InjectedStore()]) -> str:
        """Remembers what is liked."""
        store.put(DRINKS, "ann", {"likes": drink})
        return "kept"

    store = InMemoryStore()
    path.model.script(Reply.calling("remember", {"drink": "tea"}), Reply(pieces=["Noted."]))
    told = await path.tell(lambda llm: create_agent(path.chat_model(), [remember], store=store))
    assert (told.done.answer, liked(store)) == ("Noted.", "tea")


@pytest.mark.parametrize(
    ("thread", "expected"), [({}, "tea"), ({"configurable": {"thread_id": "own"}}, "milk")]
)
async def test_a_graph_that_a_node_runs_has_the_store_that_langgraph_gives_it(
    path: Path, thread: Any, expected: str
) -> None:
    """Its own, if it has a thread of its own; else that of the graph around it."""
    child = graphs.chain(("in", by_runtime, {})).compile(
        store=store_of("milk"), checkpointer=InMemorySaver()
    )

    async def run(state: State) -> dict[str, str]:
        inner = await child.ainvoke({"message": "m"}, thread)
        return {"answer": str(inner["notes"][0])}

    def build(llm: LLMClientPort) -> Any:
        return graphs.chain(("run", run, SPEAKS)).compile(store=store_of("tea"))

    assert (await path.tell(build)).done.answer == expected
