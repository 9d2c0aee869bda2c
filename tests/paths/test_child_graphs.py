"""Graphs that a node runs by itself: whose work they are, whatever their nodes are called."""

import asyncio
from functools import partial
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.config import get_stream_writer
from langgraph.func import task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy

from sluice.domain.ports import LLMClientPort
from sluice.infrastructure.llm.answers import response_format
from sluice.offline_model.replies import Gate, Reply
from tests.paths import graphs
from tests.paths.conftest import Path
from tests.paths.graphs import SPEAKS, Node, State

OWN_THREAD: Any = {"configurable": {"thread_id": "t"}}
AGAIN = RetryPolicy(max_attempts=2, initial_interval=0.01)


def agent(say: Node, *, name: str = "answer", **options: Any) -> Any:
    """All its nodes have the names of outer nodes, and declare that they speak."""
    return graphs.chain((name, say, SPEAKS)).compile(**options)


def asks(name: str, body: Any) -> bool:
    return bool(body["messages"][-1]["content"] == name)


def running(graph: Any, config: Any = OWN_THREAD) -> Node:
    async def run(state: State) -> dict[str, list[str]]:
        said = await graph.ainvoke({"message": state["message"]}, config)
        return {"notes": [said["answer"]]}

    return run


async def test_a_silent_agent_with_a_thread_of_its_own_is_not_told(path: Path) -> None:
    """Its node is called as the outer one that speaks."""

    def build(llm: LLMClientPort) -> Any:
        silent = running(agent(graphs.streaming(llm), checkpointer=InMemorySaver()))
        return graphs.chain(("research", silent, {}), ("answer", graphs.streaming(llm), SPEAKS))

    path.model.script(Reply(["SECRET"], "length"), Reply(pieces=["said"]))
    told = await path.tell(build)
    assert "SECRET" not in str(told.events)
    assert (told.done.answer, told.done.finish_reason) == ("said", "stop")
    assert told.stages == [
        "+research", "+research/answer", "-research/answer", "-research", "+answer", "-answer",
    ]  # fmt: skip


@pytest.mark.parametrize("bound", ["called", "bound"])
async def test_a_thread_may_be_given_with_the_call_or_with_the_graph(
    path: Path, bound: str
) -> None:
    def build(llm: LLMClientPort) -> Any:
        graph = agent(graphs.streaming(llm))
        run = running(graph) if bound == "called" else running(graph.with_config(OWN_THREAD), None)

        async def answer(state: State) -> dict[str, str]:
            return {"answer": (await run(state))["notes"][0]}

        return graphs.chain(("outer", answer, SPEAKS))

    path.model.script(Reply(pieces=["a", "b"]))
    told = await path.tell(build)
    assert [(t.content, t.node) for t in told.tokens] == path.speaks * [
        ("a", "outer/answer"), ("b", "outer/answer"),
    ]  # fmt: skip
    assert told.stages == ["+outer", "+outer/answer", "-outer/answer", "-outer"]


@pytest.mark.parametrize("config", [None, OWN_THREAD])
@pytest.mark.parametrize("source", ["llm", "chat model", "writer"])
async def test_a_node_that_a_setting_names_in_what_a_silent_node_runs_is_heard_and_stays(
    path: Path, source: str, config: Any
) -> None:
    def build(llm: LLMClientPort) -> Any:
        async def say(state: State) -> dict[str, Any]:
            if source == "llm":
                return {"messages": [AIMessage(await graphs.joined(llm.stream("say")))]}
            if source == "chat model":
                return {"messages": [await path.chat_model().ainvoke("say")]}
            get_stream_writer()({"token": "one "})
            return {"messages": [("ai", "one ")]}

        inner = graphs.chain(("model", say, {}), ("other", graphs.noting(llm, "hide"), {}))
        graph = inner.compile()

        async def bob(state: State) -> dict[str, Any]:
            said = await graph.ainvoke({"message": "x"}, config)
            return {"messages": [AIMessage(said["messages"][-1].text)]}  # told already

        return graphs.chain(
            ("bob", bob, {}), ("end", lambda s: {"messages": ("ai", "two")}, SPEAKS)
        )

    hidden = Reply(["SECRET"], "length")
    path.model.script(*([hidden] if source == "writer" else [Reply(pieces=["one "]), hidden]))
    told = await path.tell(build, speaking=frozenset({"bob/model"}))
    assert told.done.answer == "one two"
    assert [(t.content, t.node) for t in told.tokens] == path.speaks * [
        ("one ", "bob/model"), ("two", "bob/model"),
    ]  # fmt: skip
    assert told.done.finish_reason == (None if source == "writer" else "stop")


@pytest.mark.parametrize("way", ["graph", "thread", "task"])
async def test_a_silent_node_of_a_subgraph_that_speaks_inherits_no_voice(
    path: Path, way: str
) -> None:
    def build(llm: LLMClientPort) -> Any:
        @task
        async def hidden() -> dict[str, list[str]]:
            noted: dict[str, list[str]] = await graphs.noting(llm, "hide")({})
            return noted

        graph = agent(graphs.noting(llm, "hide"))

        async def think(state: State) -> dict[str, list[str]]:
            if way == "task":
                await hidden()
            else:
                await graph.ainvoke({"message": "x"}, OWN_THREAD if way == "thread" else None)
            return {"notes": ["x"]}

        inner = graphs.chain(("think", think, {}), ("say", graphs.streaming(llm), SPEAKS))
        return graphs.chain(("outer", inner.compile(), SPEAKS))

    path.model.script(Reply(pieces=["SECRET"]), Reply(pieces=["said"]))
    told = await path.tell(build)
    assert "SECRET" not in str(told.events)
    assert [(t.content, t.node) for t in told.tokens] == [("said", "outer/say")] * path.speaks


@pytest.mark.parametrize("metadata", [{}, SPEAKS])
@pytest.mark.parametrize("config", [None, OWN_THREAD])
@pytest.mark.parametrize("threaded", [False, True])
async def test_what_a_synchronous_node_runs_has_its_voice(
    path: Path, metadata: dict[str, Any], config: Any, threaded: bool
) -> None:
    def build(llm: LLMClientPort) -> Any:
        def say(state: State) -> dict[str, str]:
            get_stream_writer()({"token": "one "})
            chat = GenericFakeChatModel(messages=iter([AIMessage("two")]))
            return {"answer": f"one {chat.invoke('say').text}"}

        graph = agent(say)

        def run(state: State) -> dict[str, str]:
            said = graph.invoke({"message": "x"}, config)["answer"]
            return {"answer": said if metadata else "done"}

        async def in_thread(state: State) -> dict[str, str]:
            return await asyncio.to_thread(run, state)

        return graphs.chain(("outer", in_thread if threaded else run, metadata))

    told = await path.tell(build)
    heard = [("one ", "outer/answer"), ("two", "outer/answer")] if metadata else [("done", "")]
    assert [(t.content, t.node) for t in told.tokens] == heard * path.speaks
    assert told.stages == ["+outer", "+outer/answer", "-outer/answer", "-outer"]


@pytest.mark.parametrize("metadata", [{}, SPEAKS])
@pytest.mark.parametrize("own_thread", [{}, OWN_THREAD])
async def test_a_thread_without_context_is_known_by_the_config_it_was_given(
    path: Path, metadata: dict[str, Any], own_thread: Any
) -> None:
    """With a thread of its own, too, a graph that is run there takes no outer node's voice."""

    def build(llm: LLMClientPort) -> Any:
        def say(state: State) -> dict[str, str]:
            chat = GenericFakeChatModel(messages=iter([AIMessage("one two")]))
            return {"answer": str(chat.invoke("say").text)}

        graph = agent(say)

        async def outer(state: State, config: RunnableConfig) -> dict[str, list[str]]:
            loop = asyncio.get_running_loop()
            own = {**config, **own_thread}
            await loop.run_in_executor(None, partial(graph.invoke, {"message": "x"}, own))
            return {"notes": ["x"]}

        end = ("answer", lambda s: {"answer": "one two" if metadata else "done"}, SPEAKS)
        return graphs.chain(("outer", outer, metadata), end)

    told = await path.tell(build)
    heard = [("one", "outer/answer"), (" ", "outer/answer"), ("two", "outer/answer")]
    expected = heard if metadata else [("done", "")]
    assert [(t.content, t.node) for t in told.tokens] == expected * path.speaks
    assert told.stages == [
        "+outer", "+outer/answer", "-outer/answer", "-outer", "+answer", "-answer",
    ]  # fmt: skip


@pytest.mark.parametrize("config", [None, OWN_THREAD])
async def test_children_side_by_side_in_one_node_are_heard_one_after_the_other(
    path: Path, config: Any
) -> None:
    gates = {name: Gate() for name in ("a", "b")}
    for name, gate in gates.items():
        path.model.script_when(
            partial(asks, name),
            Reply(pieces=[f"{name}1", f"{name}2"], hold_after=1, gate=gate),
        )

    def build(llm: LLMClientPort) -> Any:
        graph = agent(graphs.streaming(llm))

        async def both(state: State) -> dict[str, str]:
            runs = [graph.ainvoke({"message": name}, config) for name in gates]
            said = await asyncio.gather(*runs)
            return {"answer": "".join(each["answer"] for each in said)}

        return graphs.chain(("outer", both, SPEAKS))

    async def release() -> None:
        for gate in reversed(gates.values()):
            await gate.reached()
        for gate in reversed(gates.values()):
            gate.release()

    releasing = asyncio.create_task(release())
    told = await path.tell(build)
    await releasing
    said = [t.content for t in told.tokens]
    assert said[:4] in ([], ["a1", "a2", "b1", "b2"], ["b1", "b2", "a1", "a2"])
    assert told.stages == ["+outer", "+outer/answer", "-outer/answer", "-outer"]


@pytest.mark.parametrize("retried", ["by hand", "by policy"])
async def test_a_child_that_failed_keeps_its_next_try_from_nothing(
    path: Path, retried: str
) -> None:
    """What the second try says is told at once: the gate opens when it is."""
    gate, tries = Gate(), []

    def build(llm: LLMClientPort) -> Any:
        async def flaky(state: State) -> dict[str, str]:
            tries.append(1)
            said = await graphs.joined(llm.stream("say"))
            if len(tries) == 1:
                raise ConnectionError
            return {"answer": f"one {said}"}

        graph = agent(flaky)

        async def run(state: State) -> dict[str, str]:
            try:
                said = await graph.ainvoke({"message": "x"}, OWN_THREAD)
            except ConnectionError:
                if retried == "by policy":
                    raise
                said = await graph.ainvoke({"message": "x"}, OWN_THREAD)
            return {"answer": said["answer"]}

        outer = StateGraph(State).add_node("outer", run, metadata=SPEAKS, retry_policy=AGAIN)
        return outer.add_edge(START, "outer")

    path.model.script(
        Reply(pieces=["one "]), Reply(pieces=["two ", "three"], hold_after=1, gate=gate)
    )
    if not path.speaks:
        gate.release()
    told = []
    async with asyncio.timeout(10), path.running(build) as events:
        async for event in events:
            told.append(getattr(event, "content", ""))
            if told[-1] == "two ":
                gate.release()
    assert [text for text in told if text] == ["one ", "two ", "three"] * path.speaks


@pytest.mark.parametrize("config", [None, OWN_THREAD])
@pytest.mark.parametrize("mode", ["values", "messages", "custom"])
async def test_a_child_that_is_streamed_by_hand_is_heard_once(
    path: Path, mode: Any, config: Any
) -> None:
    def build(llm: LLMClientPort) -> Any:
        async def say(state: State) -> dict[str, str]:
            if mode == "custom":
                for text in ("a", "b"):
                    get_stream_writer()({"token": text})
                return {"answer": "ab"}
            return {"answer": await graphs.joined(llm.stream("say"))}

        graph = agent(say)

        async def run(state: State) -> dict[str, str]:
            write = get_stream_writer()
            async for chunk in graph.astream({"message": "x"}, config, stream_mode=mode):
                if mode == "custom":  # whoever asks for what is written tells it himself
                    write(chunk)
            return {"answer": "ab"}

        return graphs.chain(("outer", run, SPEAKS))

    path.model.script(Reply(pieces=["a", "b"]))
    told = await path.tell(build)
    assert [t.content for t in told.tokens] == ["a", "b"] * path.speaks


async def test_conditional_edges_inside_a_subgraph_that_speaks_are_silent(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        chat = path.chat_model()

        async def where(state: State) -> str:
            await chat.ainvoke("where to?")
            return str(END)

        inner = StateGraph(State).add_node("say", graphs.streaming(llm), metadata=SPEAKS)
        inner.add_edge(START, "say").add_conditional_edges("say", where, [END])
        return graphs.chain(("outer", inner.compile(), SPEAKS))

    path.model.script(Reply(pieces=["said"]), Reply(["VERDICT"], "length"))
    told = await path.tell(build)
    assert "VERDICT" not in str(told.events)
    assert (told.done.answer, told.done.finish_reason) == ("said", "stop")


async def test_a_graph_that_a_conditional_edge_runs_is_silent(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        graph = agent(graphs.streaming(llm))

        async def where(state: State) -> str:
            await graph.ainvoke({"message": "x"}, OWN_THREAD)
            return "answer"

        outer = StateGraph(State).add_node("answer", graphs.streaming(llm), metadata=SPEAKS)
        return outer.add_conditional_edges(START, where, ["answer"])

    path.model.script(Reply(pieces=["VERDICT"]), Reply(pieces=["said"]))
    told = await path.tell(build)
    assert "VERDICT" not in str(told.events)
    assert told.done.answer == "said"


@pytest.mark.parametrize("metadata", [{}, SPEAKS])
async def test_a_graph_inside_another_runnable_is_the_work_of_its_node(
    path: Path, metadata: dict[str, Any]
) -> None:
    def build(llm: LLMClientPort) -> Any:
        graph = agent(graphs.noting(llm, "say"), name="inner")
        return graphs.chain(
            ("outer", graph.with_retry(), metadata), ("end", lambda s: {"answer": "said"}, {})
        )

    path.model.script(Reply(pieces=["sa", "id"]))
    told = await path.tell(build)
    heard = [("sa", "outer/inner"), ("id", "outer/inner")] if metadata else [("said", "")]
    assert [(t.content, t.node) for t in told.tokens] == heard * path.speaks


@pytest.mark.parametrize("where", ["graph", "subgraph"])
async def test_a_synchronous_checkpointer_is_refused_at_start(path: Path, where: str) -> None:
    with SqliteSaver.from_conn_string(":memory:") as saver:

        def build(llm: LLMClientPort) -> Any:
            graph = agent(graphs.streaming(llm), checkpointer=saver)
            return graph if where == "graph" else graphs.chain(("outer", graph, {}))

        with pytest.raises(TypeError, match="SqliteSaver is synchronous"):
            path.pipeline(build)


@pytest.mark.parametrize("asked", ["response_format", "ls_structured_output_format"])
async def test_structured_output_that_no_tag_marks_is_silent(path: Path, asked: str) -> None:
    """As other LangChain models than ours ask for it: by the call's own options."""
    formats = {
        "response_format": response_format(graphs.Verdict),
        "ls_structured_output_format": {"kwargs": {}, "schema": graphs.Verdict},
    }

    def build(llm: LLMClientPort) -> Any:
        model = path.chat_model().bind(**{asked: formats[asked]})

        async def judge(state: State) -> dict[str, list[str]]:
            return {"notes": [str((await model.ainvoke("judge")).text)]}

        return graphs.chain(("judge", judge, SPEAKS), ("answer", graphs.streaming(llm), SPEAKS))

    path.model.script(Reply(['{"label":', '"SECRET"}'], "length"), Reply(pieces=["shown"]))
    told = await path.tell(build)
    assert "SECRET" not in str(told.events)
    assert (told.done.answer, told.done.finish_reason) == ("shown", "stop")


async def test_what_a_node_says_beside_a_graph_that_it_runs_is_told_in_its_order(
    path: Path,
) -> None:
    """Its own words wait while the graph speaks, and come before what it says afterwards."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def inner(state: State) -> dict[str, str]:
        get_stream_writer()({"token": "a"})
        begun.set()
        await go_on.wait()
        return {"answer": "a"}

    async def outer(state: State) -> dict[str, str]:
        write = get_stream_writer()
        write({"token": "0"})
        running = asyncio.create_task(agent(inner).ainvoke({"message": "?"}))
        await begun.wait()
        write({"token": "b"})
        go_on.set()
        await running
        write({"token": "c"})
        return {"answer": "0abc"}

    told = await path.tell(lambda _: graphs.chain(("outer", outer, SPEAKS)))
    assert [token.content for token in told.tokens] == path.speaks * ["0", "a", "b", "c"]


async def test_a_node_that_hands_over_inside_a_graph_that_a_node_runs_is_over(path: Path) -> None:
    """As supervisors' tools do where one is another's worker."""

    def build(llm: LLMClientPort) -> Any:
        def hand_over(state: State) -> Command[str]:
            return Command(goto="z", graph=Command.PARENT, update={"notes": ["over"]})

        inner = graphs.chain(("hand", hand_over, {})).compile()
        child = StateGraph(State).add_node("in", inner, destinations=("z",))
        child.add_node("z", graphs.noting(llm, "z")).add_edge(START, "in")
        alone = child.compile()

        async def outer(state: State) -> dict[str, list[str]]:
            return {"notes": (await alone.ainvoke({"message": "x"}))["notes"]}

        end = ("answer", lambda s: {"answer": "done"}, SPEAKS)
        return graphs.chain(("outer", outer, {}), end)

    told = await path.tell(build)
    inside = ["+outer/in", "+outer/in/hand", "-outer/in/hand", "-outer/in", "+outer/z", "-outer/z"]
    assert told.stages == ["+outer", *inside, "-outer", "+answer", "-answer"]
