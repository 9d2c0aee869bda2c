"""A graph that a node runs by itself, as a root of its own to LangGraph: whose work it is."""

import threading
from collections.abc import Callable
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config, get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.pregel import Pregel

from sluice.domain.events import Done, Event, Token
from sluice.infrastructure.pipeline.child_graphs import follow
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.namespaces import ROOT
from sluice.infrastructure.pipeline.token_path import TokenPath
from tests.unit.small_graphs import SPEAKS, THREAD, MemorySaver, State, a_question, chain

OWN: RunnableConfig = {"configurable": {"thread_id": "own"}, "metadata": {"mine": 1}}
Run = Callable[[Any], Any]
Reader = Literal["tap", "messages"]


class Inner:
    """A graph of one node, which says a word; `seen` are the configs that it was run with."""

    def __init__(self, *, word: str = "inside", **options: Any) -> None:
        self.seen: list[RunnableConfig] = []

        def say(state: State) -> State:
            self.seen.append(get_config())
            get_stream_writer()({"token": word})
            return {"answer": word}

        self.graph = chain(say=say).compile(checkpointer=InMemorySaver(), **options)

    @property
    def roots(self) -> list[str | None]:
        """Of the node that runs it, only its name."""
        found = [config["metadata"].get(ROOT) for config in self.seen]
        return [one and one.partition(":")[0] + "|" + one.rpartition("|")[2] for one in found]


async def told(
    node: Any, reader: Reader = "tap", *, metadata: Any = SPEAKS, **options: Any
) -> tuple[Done, list[str]]:
    """What a graph of that one node answers, and what is heard of it."""
    graph = WatchedGraph(chain(work=(node, metadata)), **options)
    events: list[Event] = []
    outcome = await TokenPath(graph, reader=reader).run(a_question(), events.append)
    assert isinstance(outcome, Done)
    return outcome, [event.content for event in events if isinstance(event, Token)]


@pytest.mark.parametrize("reader", ["tap", "messages"])
async def test_it_is_known_inside_which_node_it_runs_and_its_words_are_that_nodes(
    reader: Reader,
) -> None:
    inner = Inner()

    async def work(state: State) -> State:
        for _ in range(2):
            await inner.graph.ainvoke({}, OWN)
        return {"answer": "insideinside"}

    done, words = await told(work, reader)
    assert (done.answer, words) == ("insideinside", ["inside", "inside"])
    assert inner.roots == ["work|01", "work|02"]
    for config in inner.seen:
        assert config["metadata"]["mine"] == 1
        assert config["configurable"]["thread_id"] == "own"


@pytest.mark.parametrize("reader", ["tap", "messages"])
async def test_what_a_silent_node_runs_is_silent(reader: Reader) -> None:
    inner = Inner()

    async def work(state: State) -> State:
        await inner.graph.ainvoke({}, OWN)
        return {"answer": "x"}

    _, words = await told(work, reader, metadata={})
    assert words == ["x"]
    assert inner.roots == ["work|01"]


def streamed(graph: Any) -> None:
    for _ in graph.stream({}, OWN):
        pass


@pytest.mark.parametrize("run", [streamed, lambda graph: graph.invoke({}, OWN)])
async def test_a_synchronous_node_is_followed_too(run: Run) -> None:
    inner = Inner()

    def work(state: State) -> State:
        run(inner.graph)
        return {"answer": "inside"}

    assert (await told(work))[1] == ["inside"]
    assert inner.roots == ["work|01"]


@pytest.mark.parametrize(
    "given",
    [
        {"thread_id": "t"},
        {"thread_id": "t", "checkpoint_ns": "a"},
        {"thread_id": "t", "checkpoint_id": ""},
    ],
)
async def test_a_coordinate_makes_a_root_with_the_call_or_with_the_graph(
    given: dict[str, Any],
) -> None:
    inner = Inner()

    async def work(state: State) -> State:
        await inner.graph.ainvoke({}, {"configurable": given})
        await inner.graph.with_config(configurable=given).ainvoke({})
        await inner.graph.with_config(configurable=given).ainvoke({}, {"tags": ["a"]})
        return {"answer": "inside" * 3}

    await told(work)
    assert inner.roots == ["work|01", "work|02", "work|03"]
    assert "a" in inner.seen[2]["callbacks"].tags  # type: ignore[union-attr]


async def test_a_graph_without_a_coordinate_is_no_root() -> None:
    seen: list[Any] = []

    async def look(state: State) -> State:
        seen.append(get_config()["metadata"].get(ROOT))
        return {"answer": "x"}

    inner = chain(look=look).compile()

    async def work(state: State) -> State:
        await inner.ainvoke({})
        await inner.ainvoke({}, {"configurable": {"mine": 1}})
        await inner.ainvoke({}, {"configurable": {"thread_id": ""}})
        return {"answer": "x"}

    await told(work)
    assert seen == [None] * 3


async def test_a_subgraph_of_langgraphs_own_is_no_root_though_its_run_has_a_thread() -> None:
    inner = Inner()
    graph = WatchedGraph(chain(work=inner.graph), new_saver=MemorySaver, keeps=True)
    await TokenPath(graph).run(a_question(head=THREAD), lambda _: None)
    assert inner.seen[0]["configurable"]["thread_id"] == "thread"
    assert inner.roots == [None]


async def test_a_child_of_a_child_is_inside_both() -> None:
    deep, roots = Inner(word=""), []

    async def middle(state: State) -> State:
        await deep.graph.ainvoke({}, OWN)
        return {"answer": "x"}

    between = chain(middle=middle).compile(checkpointer=InMemorySaver())

    async def work(state: State) -> State:
        await between.ainvoke({}, OWN)
        return {"answer": "x"}

    await told(work)
    (root,) = [config["metadata"][ROOT] for config in deep.seen]
    roots = [part.partition(":")[0] for part in root.split("|")]
    assert roots == ["work", "01", "middle", "02"]


@pytest.mark.parametrize("reader", ["tap", "messages"])
async def test_who_streams_a_child_is_given_what_is_run_inside_it(reader: Reader) -> None:
    """Its tasks, and what they write; the rest of its stream is nobody's but its own."""
    deep, parts = Inner(), list[Any]()

    async def middle(state: State) -> State:
        await deep.graph.ainvoke({}, OWN)
        return {"answer": "x"}

    between = chain(middle=middle).compile(checkpointer=InMemorySaver())

    async def work(state: State) -> State:
        modes: list[Any] = ["custom", "tasks", "updates"]
        stream = between.astream({}, OWN, stream_mode=modes, subgraphs=True)
        async for _, mode, part in stream:
            parts.append((mode, part["name"] if mode == "tasks" else part))
        return {"answer": "inside"}

    assert (await told(work, reader))[1] == ["inside"]
    assert parts == [
        ("tasks", "middle"),
        ("tasks", "say"),
        ("custom", {"token": "inside"}),
        ("tasks", "say"),
        ("updates", {"middle": {"answer": "x"}}),
        ("tasks", "middle"),
    ]


async def test_a_thread_without_context_is_known_by_the_config_that_it_was_given() -> None:
    inner = Inner()

    def work(state: State, config: RunnableConfig) -> State:
        given = {**config, "configurable": {"thread_id": "own"}}
        thread = threading.Thread(target=lambda: inner.graph.invoke({}, given))
        thread.start()
        thread.join()
        return {"answer": "inside"}

    assert (await told(work))[1] == ["inside"]
    assert inner.roots == ["work|01"]


async def test_a_thread_that_knows_nothing_of_the_run_is_nobodys() -> None:
    inner = Inner()

    def work(state: State) -> State:
        threads = [
            threading.Thread(target=lambda given=given: inner.graph.invoke({}, given))
            for given in (OWN, {**OWN, "callbacks": []})
        ]
        for thread in threads:
            thread.start()
            thread.join()
        return {"answer": "x"}

    assert (await told(work))[1] == ["x"]
    assert inner.roots == [None, None]


async def test_graphs_are_followed_from_the_first_asking_on_and_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("stream", "astream"):
        monkeypatch.setattr(Pregel, name, getattr(Pregel, name).__wrapped__)
    follow()
    followed = Pregel.stream, Pregel.astream
    follow()
    assert (Pregel.stream, Pregel.astream) == followed
    inner = Inner()

    async def work(state: State) -> State:
        inner.graph.invoke({}, OWN)
        await inner.graph.ainvoke({}, OWN)
        return {"answer": "x"}

    await told(work)
    assert inner.roots == ["work|01", "work|02"]


async def test_outside_of_a_job_nothing_changes() -> None:
    inner = Inner()
    assert (await inner.graph.ainvoke({}, OWN))["answer"] == "inside"
    assert inner.graph.invoke({"message": "x"}, OWN)["message"] == "x"
    assert inner.roots == [None, None]


@tool(return_direct=True)
def look(where: str) -> str:
    """Looks."""
    return f"seen {where}"


@tool
def hear(where: str) -> str:
    """Hears."""
    return f"heard {where}"


@pytest.mark.parametrize(("named", "answer"), [("look", "seen there"), ("hear", None)])
async def test_a_result_that_ends_the_turn_is_known_in_what_a_node_runs(
    named: str, answer: str | None
) -> None:
    tools = StateGraph(State).add_node("tools", ToolNode([hear, look])).add_edge(START, "tools")
    inner = tools.compile()
    call = {"name": named, "args": {"where": "there"}, "id": "1", "type": "tool_call"}
    asking = AIMessage("", id="asking", tool_calls=[call])

    async def work(state: State) -> State:
        found = await inner.ainvoke({"messages": [asking]})
        assert isinstance(found["messages"][-1], ToolMessage)
        return {"messages": found["messages"], "answer": "" if answer else "x"}

    done, _ = await told(work)
    assert done.answer == (answer or "x")
