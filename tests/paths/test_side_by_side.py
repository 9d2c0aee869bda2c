"""On both paths: nodes, instances and runs side by side do not mix."""

import asyncio
from typing import Any

from langgraph.graph import START, StateGraph
from langgraph.types import Send

from sluice.domain.ports import LLMClientPort
from sluice.offline_model.replies import Gate, Reply
from tests.paths import graphs
from tests.paths.conftest import Path, question
from tests.paths.graphs import SPEAKS, State


async def test_the_stream_writer_names_its_node_and_side_by_side_do_not_mix(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        graph = graphs.writing(llm)

        async def answer(state: State) -> dict[str, str]:
            return {"answer": "".join(state["notes"])}

        graph.add_node("answer", answer)
        for name in ("one", "two", "mute"):
            graph.add_edge(name, "answer")
        return graph

    told = await path.tell(build)
    assert told.done.answer == "abcd"
    if path.speaks:
        assert [(t.content, t.node) for t in told.tokens] == [
            ("a", "one"), ("b", "one"), ("c", "two"), ("d", "two"),
        ]  # fmt: skip


async def test_parallel_speakers_take_turns_in_the_order_of_their_first_token(path: Path) -> None:
    first, second = Gate(), Gate()

    def wants(prompt: str) -> Any:
        return lambda body: body["messages"][-1]["content"] == prompt

    path.model.script_when(wants("one"), Reply(pieces=["1a", "1b"], hold_after=1, gate=first))
    path.model.script_when(wants("two"), Reply(pieces=["2a", "2b"], hold_after=0, gate=second))

    def build(llm: LLMClientPort) -> Any:
        return graphs.beside(
            ("one", graphs.noting(llm, "one"), SPEAKS), ("two", graphs.noting(llm, "two"), SPEAKS)
        ).add_node("answer", lambda s: {"answer": "".join(s["notes"])})

    def joined(llm: LLMClientPort) -> Any:
        graph = build(llm)
        graph.add_edge("one", "answer")
        graph.add_edge("two", "answer")
        return graph

    async def hold() -> None:
        await first.reached()
        await second.reached()
        second.release()
        async with asyncio.timeout(5):
            while path.model.closed < 1:  # noqa: ASYNC110 - the server tells only by its count
                await asyncio.sleep(0)
        first.release()

    release = asyncio.create_task(hold())
    told = await path.tell(joined)
    await release
    assert told.done.answer == "1a1b2a2b"
    assert [t.content for t in told.tokens] == ["1a", "1b", "2a", "2b"] * path.speaks


async def test_instances_side_by_side_show_as_one_stage(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        async def work(state: Any) -> dict[str, list[str]]:
            return {"notes": ["x"]}

        graph = StateGraph(State)
        graph.add_node("work", work)
        graph.add_conditional_edges(START, lambda s: [Send("work", s)] * 3, ["work"])
        graph.add_node("answer", lambda s: {"answer": "".join(s["notes"])})
        graph.add_edge("work", "answer")
        return graph

    told = await path.tell(build)
    assert told.stages == ["+work", "-work", "+answer", "-answer"]
    assert told.done.answer == "xxx"


async def test_parallel_stages_overlap_and_progress_does_not_fall(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        started: list[str] = []
        both = asyncio.Event()

        def node(name: str) -> Any:
            async def work(state: State) -> dict[str, list[str]]:
                started.append(name)
                if len(started) == 2:
                    both.set()
                await both.wait()
                return {"notes": [name]}

            return work

        graph = graphs.beside(("a", node("a"), {}), ("b", node("b"), {}))
        graph.add_node("answer", lambda s: {"answer": "done"}, defer=True)
        graph.add_edge("a", "answer")
        graph.add_edge("b", "answer")
        return graph

    told = await path.tell(build)
    assert set(told.stages[:2]) == {"+a", "+b"}
    progress = [event.progress for event in told.events if hasattr(event, "progress")]
    assert progress == sorted(progress)


async def test_runs_side_by_side_do_not_hear_each_other(path: Path) -> None:
    path.model.script_when(lambda b: b["messages"][-1]["content"] == "1", Reply(pieces=["o", "ne"]))
    path.model.script_when(lambda b: b["messages"][-1]["content"] == "2", Reply(pieces=["tw", "o"]))
    one, two = await asyncio.gather(
        path.tell(graphs.answering, question("1")), path.tell(graphs.answering, question("2"))
    )
    assert (one.done.answer, two.done.answer) == ("one", "two")
