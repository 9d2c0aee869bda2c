"""What a graph is called with, what its nodes find, and how its errors leave."""

import asyncio
from functools import partial
from threading import Thread
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from pydantic import BaseModel

from sluice.application.model_calls import current_node
from sluice.domain.errors import DeadlineExceeded, PipelineError, UpstreamTruncated
from sluice.domain.events import Done, Event, StageStarted, Tool
from sluice.infrastructure.pipeline import runs
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.place import current_place
from sluice.infrastructure.pipeline.running_node import RunningNode
from sluice.infrastructure.pipeline.runs import translated
from sluice.infrastructure.pipeline.token_path import TokenPath
from tests.unit.small_graphs import (
    THREAD,
    MemorySaver,
    State,
    a_question,
    answer,
    chain,
    ran,
)


async def seen_by(graph: Any, *, asked: Any = None, **options: Any) -> RunnableConfig:
    """The config that a node of the graph is run with."""
    found: list[RunnableConfig] = []

    async def look(state: State) -> State:
        found.append(get_config())
        return {"answer": "x"}

    built = graph(chain(look=look))
    await ran(WatchedGraph(built, **options), asked)
    return found[0]


async def test_a_run_has_langgraphs_bound_of_steps_or_its_graphs_own() -> None:
    assert (await seen_by(lambda graph: graph))["recursion_limit"] == 10_007
    own = await seen_by(lambda graph: graph.compile().with_config(recursion_limit=30))
    assert own["recursion_limit"] == 30
    other = await seen_by(lambda graph: graph.compile().with_config(tags=["a"]))
    assert other["recursion_limit"] == 10_007


async def test_who_listens_to_agents_is_there_if_a_node_is_declared_so() -> None:
    def listeners(config: RunnableConfig) -> list[str]:
        manager: Any = config["callbacks"]
        return [type(each).__name__ for each in manager.handlers]

    alone = listeners(await seen_by(lambda graph: graph))
    for word in ("tools", "reasoning", "data"):
        with_one = await seen_by(lambda graph: graph, named={word: frozenset({"look"})})
        assert listeners(with_one) == [*alone, "AgentListener"]
    assert listeners(await seen_by(lambda graph: graph, named=frozenset({"look"}))) == alone


@pytest.mark.parametrize("threaded", [False, True])
async def test_what_its_listener_hears_is_told_of_the_run(threaded: bool) -> None:
    """Of a thread without context, too."""

    @tool
    def find(where: str) -> str:
        """Finds."""
        return f"found {where}"

    def look(state: State, config: RunnableConfig) -> State:
        call = {"name": "find", "args": {"where": "here"}, "id": "1", "type": "tool_call"}
        find_it = partial(find.invoke, call, config)
        if threaded:
            thread = Thread(target=find_it)
            thread.start()
            thread.join()
        else:
            find_it()
        return {"answer": "x"}

    told: list[Event] = []
    graph = WatchedGraph(chain(look=look), {"tools": frozenset({"look"})})
    await TokenPath(graph).run(a_question(), told.append)
    steps = [(event.call_id, event.status) for event in told if isinstance(event, Tool)]
    assert steps[-1] == ("1", "completed")


async def test_a_graphs_own_checkpointer_has_a_thread_a_run_and_forgets_it() -> None:
    own = InMemorySaver()
    build = lambda graph: graph.compile(checkpointer=own)  # noqa: E731
    threads = {(await seen_by(build))["configurable"]["thread_id"] for _ in range(2)}
    assert len(threads) == 2
    assert "" not in threads
    assert not own.storage
    assert "thread_id" not in (await seen_by(lambda graph: graph))["configurable"]


@pytest.mark.parametrize("how", ["raises", "hangs"])
async def test_a_checkpointer_that_does_not_forget_costs_no_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    monkeypatch.setattr(runs, "_PATIENCE", 0.01)

    class Own(InMemorySaver):
        async def adelete_thread(self, thread_id: str) -> None:
            if how == "raises":
                raise RuntimeError("secret")
            await asyncio.Event().wait()

    assert await ran(chain(answer=answer).compile(checkpointer=Own()))
    assert "a run stays in the graph's checkpointer: " in caplog.text
    assert ("RuntimeError" if how == "raises" else "TimeoutError") in caplog.text
    assert "secret" not in caplog.text


async def test_a_run_that_fails_is_forgotten_too() -> None:
    own = InMemorySaver()

    async def fails(state: State) -> State:
        raise RuntimeError

    with pytest.raises(PipelineError):
        await ran(chain(note=answer, fails=fails).compile(checkpointer=own))
    assert not own.storage


async def test_what_runs_finds_its_run_its_model_and_its_place() -> None:
    found: list[Any] = []

    def route(state: State) -> str:
        found.append((current_node.get(), current_place.get()))
        return END

    async def node(state: State) -> State:
        found.append(current_node.get())
        return {"answer": "x"}

    built = StateGraph(State).add_node("node", node).add_edge(START, "node")
    built.add_conditional_edges("node", route, [END])
    graph = WatchedGraph(built, new_saver=MemorySaver, keeps=True)
    await ran(graph, a_question(model="special", head=THREAD))
    inside, (edge, place) = found
    assert isinstance(inside, RunningNode)
    assert isinstance(edge, RunningNode)
    assert (inside.path, edge.namespace) == ("node", "")
    assert inside.run is edge.run
    assert inside.run.calls.model == "special"
    assert inside.run.reasons is graph.reasons
    assert place.thread_id == "thread"


async def test_metadata_reaches_the_graph_as_its_context() -> None:
    class Context(BaseModel):
        tone: str = "dry"

    async def look(state: State, runtime: Any) -> State:
        return {"answer": runtime.context.tone}

    from langgraph.runtime import Runtime

    look.__annotations__["runtime"] = Runtime[Context]
    built = StateGraph(State, context_schema=Context).add_node("look", look)
    built.add_edge(START, "look")
    done = await ran(built, a_question(metadata={"tone": "warm"}))
    assert isinstance(done, Done)
    assert done.answer == "warm"


async def test_what_the_graph_declares_reaches_the_run() -> None:
    def again(state: State) -> Command[str]:
        more = len(state.get("notes", [])) < 2
        return Command(update={"notes": ["x"], "answer": "x"}, goto="again" if more else END)

    graph = WatchedGraph(StateGraph(State).add_node("again", again).add_edge(START, "again"))
    told: list[Event] = []
    done = await TokenPath(graph).run(a_question(), told.append)
    assert isinstance(done, Done)
    assert done.hint == graph.hint is not None
    progress = [event.progress for event in told if isinstance(event, StageStarted)]
    assert graph.has_loop
    assert max(progress) < 100


def test_an_error_of_ours_leaves_as_it_is() -> None:
    for error in (UpstreamTruncated("x"), DeadlineExceeded("x")):
        with pytest.raises(type(error)) as raised, translated():
            raise error
        assert raised.value is error


def test_any_other_error_is_the_pipelines_and_keeps_its_cause() -> None:
    for cause in (KeyError("x"), TimeoutError()):
        with pytest.raises(PipelineError) as raised, translated():
            raise cause
        assert raised.value.__cause__ is cause
        assert str(raised.value) == ""


def test_a_failure_of_a_model_call_keeps_its_code() -> None:
    group = ExceptionGroup("x", [UpstreamTruncated("x")])
    with pytest.raises(UpstreamTruncated), translated():
        raise group


def test_what_is_no_exception_goes_through() -> None:
    with pytest.raises(asyncio.CancelledError), translated():
        raise asyncio.CancelledError
