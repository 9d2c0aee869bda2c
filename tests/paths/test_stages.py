"""On both paths: which nodes are stages, and when they start and end."""

import asyncio
from typing import Any

import pytest
from langgraph.cache.memory import InMemoryCache
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy, RetryPolicy

from sluice.domain.events import StageCompleted, StageStarted, Token
from sluice.domain.ports import LLMClientPort
from sluice.offline_model.replies import Gate, Reply
from tests.paths import graphs
from tests.paths.conftest import Path
from tests.paths.graphs import SPEAKS, State


async def test_a_subgraphs_nodes_have_paths_and_voices_of_their_own(path: Path) -> None:
    path.model.script(Reply(pieces=["thought"]), Reply(pieces=["sa", "id"]))
    told = await path.tell(graphs.subgraph)
    assert told.done.answer == "said"
    assert {t.node for t in told.tokens} == ({"outer/say"} if path.speaks else set())
    assert told.stages == [
        "+outer", "+outer/think", "-outer/think", "+outer/say", "-outer/say", "-outer",
    ]  # fmt: skip


async def test_a_stage_starts_when_its_work_starts(path: Path) -> None:
    gate = Gate()
    path.model.script(Reply(pieces=["late"], hold_after=0, gate=gate))
    async with path.running(graphs.answering) as events:
        assert await anext(events) == StageStarted("answer", 0)
        following = asyncio.ensure_future(anext(events))
        await gate.reached()  # the stage is told while the model is still silent
        gate.release()
        assert isinstance(await following, Token if path.speaks else StageCompleted)


async def test_a_hidden_stage_is_not_shown(path: Path) -> None:
    path.model.script(Reply(pieces=["x"]))

    def build(llm: LLMClientPort) -> Any:
        return graphs.chain(
            ("secret", lambda s: {"notes": ["x"]}, {"stage": False}),
            ("answer", graphs.streaming(llm), SPEAKS),
        )

    assert (await path.tell(build)).stages == ["+answer", "-answer"]


async def test_conditional_edges_are_no_stages(path: Path) -> None:
    path.model.script(Reply(pieces=["x"]))

    def build(llm: LLMClientPort) -> Any:
        graph = StateGraph(State)
        graph.add_node("answer", graphs.streaming(llm), metadata=SPEAKS)
        graph.add_node("more", lambda s: {"notes": ["m"]})
        graph.add_conditional_edges(START, lambda s: "answer", ["answer"])
        graph.add_conditional_edges("answer", lambda s: "more", ["more", END])
        return graph

    assert (await path.tell(build)).stages == ["+answer", "-answer", "+more", "-more"]


async def test_a_retried_node_is_told_once_in_the_end(path: Path) -> None:
    tries: list[int] = []

    def build(llm: LLMClientPort) -> Any:
        async def flaky(state: State) -> dict[str, str]:
            text = await graphs.joined(llm.stream("x"))
            tries.append(1)
            if len(tries) == 1:
                raise ConnectionError("once")
            return {"answer": text}

        graph = StateGraph(State)
        graph.add_node(
            "answer",
            flaky,
            metadata=SPEAKS,
            retry_policy=RetryPolicy(max_attempts=2, initial_interval=0.01),
        )
        return graph.add_edge(START, "answer")

    path.model.script(Reply(pieces=["said"]), Reply(pieces=["said"]))
    told = await path.tell(build)
    assert told.done.answer == "said"
    assert told.stages == ["+answer", "-answer"]


async def test_a_node_whose_result_is_in_a_cache_is_no_stage(path: Path) -> None:
    """It does not run. Its neighbours do."""
    cache = InMemoryCache[Any]()
    policy = CachePolicy(key_func=lambda _: "one")

    def build(llm: LLMClientPort) -> Any:
        graph = StateGraph(State)
        inner = graphs.chain(("say", graphs.streaming(llm), SPEAKS)).compile()
        graph.add_node("note", graphs.noting(llm, "note"), cache_policy=policy)
        graph.add_node("outer", inner)
        graph.add_edge(START, "note").add_edge("note", "outer")
        return graph.compile(cache=cache)

    after = ["+outer", "+outer/say", "-outer/say", "-outer"]
    path.model.script(*[Reply(pieces=["x"])] * 3)
    assert (await path.tell(build)).stages == ["+note", "-note", *after]
    assert (await path.tell(build)).stages == after


@pytest.mark.parametrize("config", [None, {"configurable": {"thread_id": "t"}}])
async def test_a_graph_that_a_node_runs_again_shows_what_failed_before_that(
    path: Path, config: Any
) -> None:
    tries: list[int] = []

    async def flaky(state: State) -> dict[str, str]:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError
        return {"answer": "one"}

    def build(llm: LLMClientPort) -> Any:
        child = graphs.chain(("inner", flaky, {})).compile()
        again = child.with_retry(wait_exponential_jitter=False)

        async def run(state: State) -> dict[str, str]:
            said = await again.ainvoke({"message": "x"}, config)
            return {"answer": said["answer"]}

        return graphs.chain(("outer", run, SPEAKS))

    told = await path.tell(build)
    inner = ["+outer/inner", "!outer/inner", "+outer/inner", "-outer/inner"]
    assert told.stages == ["+outer", *inner, "-outer"]
