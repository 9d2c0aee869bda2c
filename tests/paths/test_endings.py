"""When a node's run is over that does not simply return: who speaks next need not wait."""

import asyncio
from functools import partial
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt

from sluice.domain.errors import PipelineError
from sluice.domain.ports import LLMClientPort
from sluice.offline_model.replies import Reply
from tests.paths import graphs
from tests.paths.conftest import Path, Told, question
from tests.paths.graphs import SPEAKS, Node, State

TWICE = RetryPolicy(max_attempts=2, initial_interval=0.01)


def going_on(llm: LLMClientPort) -> Node:
    """Says on what was said."""

    async def go_on(state: State) -> dict[str, str]:
        return {"answer": state.get("answer", "") + await graphs.joined(llm.stream("more"))}

    return go_on


def heard(path: Path, told: Told) -> list[str]:
    """What a path tells that has no tokens is the same without them."""
    if not path.speaks:
        assert told.marks == told.stages
    return told.marks


def expected(path: Path, *marks: str) -> list[str]:
    return [mark for mark in marks if path.speaks or mark[0] != "."]


async def test_a_graph_that_a_synchronous_node_runs_is_told_of_where_all_the_rest_is(
    path: Path,
) -> None:
    """The node is in another thread, and so is all that it runs."""

    def build(llm: LLMClientPort) -> Any:
        def deep(state: State) -> dict[str, str]:
            return {"answer": "deep"}

        inner = graphs.chain(("deep", deep, {})).compile()

        def outer(state: State) -> dict[str, str]:
            return {"answer": inner.invoke({"message": "x"})["answer"]}

        return graphs.chain(("outer", outer, SPEAKS))

    told = await path.tell(build)
    assert told.done.answer == "deep"
    assert told.stages[0] == "+outer"
    assert told.stages[-1] == "-outer"


@pytest.mark.parametrize("checkpointer", [None, InMemorySaver()])
async def test_a_node_that_waits_for_a_human_has_given_no_answer(
    path: Path, checkpointer: InMemorySaver | None
) -> None:
    """Whatever the state holds by then: a half is not the whole."""

    def build(llm: LLMClientPort) -> Any:
        async def half(state: State) -> dict[str, str]:
            return {"answer": "half"}

        async def ask(state: State) -> dict[str, str]:
            return {"answer": str(interrupt("may I?"))}

        chain = graphs.chain(("half", half, SPEAKS), ("ask", ask, SPEAKS))
        return chain.compile(checkpointer=checkpointer)

    told = Told()

    async def run() -> None:
        async with path.running(build) as events:
            async for event in events:
                told.events.append(event)

    with pytest.raises(PipelineError, match="waits for a human"):
        await run()
    assert told.stages == ["+half", "-half", "+ask"]


@pytest.mark.parametrize("stops", ["interrupt_before", "interrupt_after"])
async def test_a_graph_that_is_made_to_stop_for_a_human_is_refused(path: Path, stops: str) -> None:
    def build(llm: LLMClientPort) -> Any:
        chain = graphs.chain(("answer", graphs.streaming(llm), SPEAKS))
        return chain.compile(checkpointer=InMemorySaver(), **{stops: ["answer"]})

    with pytest.raises(TypeError, match="stops for a human"):
        path.pipeline(build)


async def test_a_subgraph_with_a_memory_of_its_own_has_its_own_voices(path: Path) -> None:
    """LangGraph names its nodes `research|answer:id`: they are not the graph's own `answer`."""

    def build(llm: LLMClientPort) -> Any:
        inner = graphs.chain(
            ("answer", graphs.noting(llm, "hidden"), {}),
            ("say", graphs.streaming(llm), SPEAKS),
        )
        graph = StateGraph(State)
        graph.add_node("research", inner.compile(checkpointer=True), metadata=SPEAKS)
        graph.add_node("answer", going_on(llm), metadata=SPEAKS)
        graph.add_edge(START, "research").add_edge("research", "answer")
        return graph.compile(checkpointer=InMemorySaver())

    path.model.script(*[Reply(pieces=[text]) for text in ("SECRET", "one", " two")])
    told = await path.tell(build)
    assert told.done.answer == "one two"
    assert "SECRET" not in str(told.events)
    assert heard(path, told) == expected(
        path,
        *("+research", "+research/answer", "-research/answer"),
        *("+research/say", ".research/say", "-research/say", "-research"),
        *("+answer", ".answer", "-answer"),
    )


async def test_what_an_error_handler_goes_on_for_has_failed_and_is_over(path: Path) -> None:
    """What it says is the node's, and who speaks next need not wait for the graph's end."""

    def build(llm: LLMClientPort) -> Any:
        async def fail(state: State) -> None:
            await graphs.joined(llm.stream("say"))
            raise ConnectionError

        async def mend(state: State) -> Command[str]:
            said = await graphs.joined(llm.stream("sorry"))
            return Command(update={"answer": f"one{said}"}, goto="z")

        graph = StateGraph(State)
        graph.add_node("a", fail, metadata=SPEAKS, error_handler=mend, destinations=("z",))
        graph.add_node("z", going_on(llm), metadata=SPEAKS)
        return graph.add_edge(START, "a")

    path.model.script(*[Reply(pieces=[text]) for text in ("one", " two", " three")])
    told = await path.tell(build, question(model="mine"))
    assert told.done.answer == "one two three"
    assert heard(path, told) == expected(path, "+a", ".a", ".a", "!a", "+z", ".z", "-z")
    assert {request.body["model"] for request in path.model.requests} == {"mine"}


async def test_a_conditional_edge_is_silent_and_part_of_its_job(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        chat = path.chat_model()

        async def enter(state: State) -> str:
            return "a" if await llm.complete("where to?") else END

        async def leave(state: State) -> str:
            return str(END) if (await chat.ainvoke("and now?")).text else "a"

        graph = StateGraph(State).add_node("a", graphs.streaming(llm), metadata=SPEAKS)
        graph.add_conditional_edges(START, enter, ["a", END])
        return graph.add_conditional_edges("a", leave, ["a", END])

    path.model.script(
        *[Reply(pieces=[text]) for text in ("in", "said")], Reply(["VERDICT"], "length")
    )
    told = await path.tell(build, question(model="mine"))
    assert (told.done.answer, told.done.finish_reason) == ("said", "stop")
    assert "VERDICT" not in str(told.events)
    assert told.done.usage is not None
    assert told.done.usage.output_tokens == 3
    asked = [request.body["model"] for request in path.model.requests]
    assert asked[:2] == ["mine", "mine"]


async def test_a_model_that_is_called_in_a_thread_of_the_nodes_own_speaks(path: Path) -> None:
    """Such a thread knows nothing of the node, but it was given the node's config."""

    def build(llm: LLMClientPort) -> Any:
        async def answer(state: State, config: RunnableConfig) -> dict[str, str]:
            chat = GenericFakeChatModel(messages=iter([AIMessage("one two")]))
            invoke = partial(chat.invoke, "say", config)
            said = await asyncio.get_running_loop().run_in_executor(None, invoke)
            return {"answer": str(said.text)}

        return graphs.chain(("answer", answer, SPEAKS))

    told = await path.tell(build)
    assert heard(path, told) == expected(
        path, "+answer", ".answer", ".answer", ".answer", "-answer"
    )


async def test_what_outlives_its_node_keeps_nobody_waiting(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        late: list[asyncio.Task[str]] = []

        async def leave(state: State) -> None:
            async def speak() -> str:
                await asyncio.sleep(0.05)
                return await graphs.joined(llm.stream("late"))

            late.append(asyncio.create_task(speak()))

        async def go_on(state: State) -> dict[str, str]:
            said = await late[0]
            return {"answer": said + await graphs.joined(llm.stream("more"))}

        return graphs.chain(("a", leave, SPEAKS), ("z", go_on, SPEAKS))

    path.model.script(*[Reply(pieces=[text]) for text in ("one", " two")])
    told = await path.tell(build)
    assert told.done.answer == "one two"
    assert heard(path, told) == expected(path, "+a", "-a", "+z", ".a", ".z", "-z")


async def test_a_node_that_hands_over_to_the_graph_above_is_over(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        async def hand_over(state: State) -> Command[str]:
            said = await graphs.joined(llm.stream("first"))
            return Command(goto="z", graph=Command.PARENT, update={"answer": said})

        inner = graphs.chain(("s", hand_over, SPEAKS)).compile()
        graph = StateGraph(State).add_node("outer", inner, destinations=("z",))
        graph.add_node("z", going_on(llm), metadata=SPEAKS)
        return graph.add_edge(START, "outer")

    path.model.script(Reply(pieces=["one"]), Reply(pieces=[" two"]))
    told = await path.tell(build)
    assert told.done.answer == "one two"
    assert heard(path, told) == expected(
        path, "+outer", "+outer/s", ".outer/s", "-outer/s", "-outer", "+z", ".z", "-z"
    )


async def test_a_subgraph_that_is_tried_again_has_the_same_nodes_with_the_same_voices(
    path: Path,
) -> None:
    """Its silent node stays silent, and the first try holds nobody's tokens back."""
    tries = 0

    def build(llm: LLMClientPort) -> Any:
        async def flaky(state: State) -> dict[str, str]:
            nonlocal tries
            tries += 1
            said = await graphs.joined(llm.stream("say"))
            if tries == 1:
                raise ConnectionError
            return {"answer": f"one{said}"}

        inner = graphs.chain(("q", graphs.noting(llm, "hidden"), {}), ("s", flaky, SPEAKS))
        graph = StateGraph(State)
        graph.add_node("outer", inner.compile(), metadata=SPEAKS, retry_policy=TWICE)
        graph.add_node("z", going_on(llm), metadata=SPEAKS)
        return graph.add_edge(START, "outer").add_edge("outer", "z")

    says = ["hidden", "one", "hidden", " two", " three"]
    path.model.script(*[Reply(pieces=[text]) for text in says])
    told = await path.tell(build)
    assert told.done.answer == "one two three"
    assert told.done.finish_reason == "stop"
    first, second = ("+outer/q", "-outer/q", "+outer/s", ".outer/s"), ("-outer/s", "-outer")
    assert heard(path, told) == expected(
        path, "+outer", *first, "!outer/s", *first, *second, "+z", ".z", "-z"
    )


async def test_what_failed_inside_a_node_that_went_on_is_over_with_it(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        async def fail(state: State) -> None:
            await graphs.joined(llm.stream("half"))
            raise ConnectionError

        alone = graphs.chain(("s", fail, {})).compile()

        async def careful(state: State) -> dict[str, str]:
            try:
                await alone.ainvoke({"message": "x"})
            except ConnectionError:
                return {"answer": "half"}
            return {}

        return graphs.chain(("outer", careful, SPEAKS), ("z", going_on(llm), SPEAKS))

    path.model.script(Reply(pieces=["half"]), Reply(pieces=[" whole"]))
    told = await path.tell(build)
    assert told.done.answer == "half whole"
    assert heard(path, told) == expected(
        path, "+outer", "+outer/s", ".outer/s", "!outer/s", "-outer", "+z", ".z", "-z"
    )
