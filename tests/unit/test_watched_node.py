"""A node as it is run: what it finds, what is kept of its output, and how it ends."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
from langchain_core.messages import AIMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.errors import GraphInterrupt, ParentCommand
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sluice.application.model_calls import ModelCalls, NodeRun, current_node
from sluice.domain.errors import PipelineError
from sluice.domain.events import StageCompleted, StageFailed, StageStarted, Token
from sluice.infrastructure.pipeline import nodes
from sluice.infrastructure.pipeline.namespaces import NODE
from sluice.infrastructure.pipeline.nodes import WatchedNode
from sluice.infrastructure.pipeline.running_node import RUNTIME, RunningNode
from tests.unit.graph_runs import INSIDE, A, Run

SPEAKS = {"speaks": True}
SAID = {"messages": [AIMessage("said", id="1")]}
LAST = {"messages": [AIMessage("last", id="2")]}


def bound_of(function: Callable[..., Any]) -> Any:
    """What LangGraph makes of a node's function."""
    graph: Any = StateGraph
    return graph(dict).add_node("n", function).add_edge(START, "n").compile().nodes["n"].bound


@contextmanager
def within(node: NodeRun | None) -> Iterator[None]:
    before = current_node.set(node)
    try:
        yield
    finally:
        current_node.reset(before)


def config_at(namespace: str = A, **configurable: Any) -> RunnableConfig:
    runtime = Runtime(context=cast("Any", {"user": "ann"}))
    metadata = {"langgraph_checkpoint_ns": namespace, "other": 1}
    return RunnableConfig(
        configurable={RUNTIME: runtime, "thread_id": "t", **configurable}, metadata=metadata
    )


async def run_node(
    run: Run,
    function: Callable[..., Any],
    *,
    namespace: str = A,
    bound: Any = None,
    given: Any = None,
    **configurable: Any,
) -> Any:
    """A watched node of that function runs there."""
    with within(RunningNode(run)):
        return await WatchedNode(bound or bound_of(function)).ainvoke(
            given or {}, config_at(namespace, **configurable)
        )


async def test_a_node_finds_its_run_and_a_config_that_says_whose_it_is() -> None:
    run, found = Run(declared={"a": SPEAKS}), list[Any]()

    async def node(state: Any, config: RunnableConfig) -> Any:
        found.extend([current_node.get(), config, var_child_runnable_config.get()])
        return {"x": state}

    assert await run_node(run, node, given={"y": 1}) == {"x": {"y": 1}}
    here, config, child = found
    assert isinstance(here, RunningNode)
    assert (here.run, here.namespace, here.path, here.speaks) == (run, A, "a", True)
    assert run.node_at(A) is here
    for given in (config, child):
        assert given["metadata"] == {"langgraph_checkpoint_ns": A, "other": 1, NODE: A}
        assert given["configurable"]["thread_id"] == "t"
        runtime = given["configurable"][RUNTIME]
        assert runtime.context == {"user": "ann"}
        assert runtime.stream_writer == here.write


async def test_a_nodes_writer_says_what_it_writes_into_the_stream_that_is_read() -> None:
    streamed = list[Any]()

    async def node(state: Any, config: RunnableConfig) -> Any:
        config["configurable"][RUNTIME].stream_writer({"token": "x"})

    run = Run(declared={"a": SPEAKS})
    await run_node(run, node)
    assert run.told == [Token("x", "a")]
    run = Run("messages", declared={"a": SPEAKS})
    await run_node(run, node, __pregel_stream=streamed.append)
    assert (run.told, len(streamed)) == ([], 1)


@pytest.mark.parametrize("timed", [True, False])
async def test_what_a_node_writes_is_progress_where_langgraph_bounds_its_silence(
    timed: bool,
) -> None:
    written = list[object]()
    beats: Any = {"heartbeat": lambda: None} if timed else {}
    configurable: Any = {RUNTIME: Runtime(stream_writer=written.append, **beats)}

    async def node(state: Any, config: RunnableConfig) -> Any:
        config["configurable"][RUNTIME].stream_writer({"token": "x"})

    run = Run(declared={"a": SPEAKS})
    await run_node(run, node, **configurable)
    assert run.told == [Token("x", "a")]
    assert written == [None] * timed


@dataclass
class OlderRuntime:
    """Of a LangGraph that bounds no silence."""

    context: Any = None
    stream_writer: Any = None


async def test_on_an_older_langgraph_no_node_has_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "_UNTIMED", None)
    found = list[Any]()

    async def node(state: Any) -> Any:
        found.append(current_node.get())

    configurable: Any = {RUNTIME: OlderRuntime()}
    await run_node(Run(), node, bound=RunnableLambda(node), **configurable)
    assert [each.progress for each in found] == [None]


async def test_a_tracer_is_told_of_a_node_by_its_path(spans: InMemorySpanExporter) -> None:
    await run_node(Run(), lambda state: {}, namespace=INSIDE)
    assert [span.name for span in spans.get_finished_spans()] == ["node a/i"]


async def test_what_was_there_before_is_there_again_after_the_node() -> None:
    run = Run()
    outer = RunningNode(run)
    with within(outer):
        before = var_child_runnable_config.get()
        await WatchedNode(bound_of(lambda s: s)).ainvoke({}, config_at())
        assert current_node.get() is outer
        assert var_child_runnable_config.get() is before


@pytest.mark.parametrize("outer", [None, NodeRun(ModelCalls(), "a", speaks=True)])
async def test_outside_of_a_job_a_node_is_as_it_was(outer: NodeRun | None) -> None:
    async def node(state: Any, config: RunnableConfig) -> Any:
        return current_node.get(), state, config["metadata"]

    with within(outer):
        found = await WatchedNode(bound_of(node)).ainvoke({"y": 1}, config_at())
    assert found == (outer, {"y": 1}, {"langgraph_checkpoint_ns": A, "other": 1})


@pytest.mark.parametrize("in_a_job", [True, False])
async def test_a_node_is_given_what_it_is_called_with(in_a_job: bool) -> None:
    async def add(state: Any, x: int) -> Any:
        return x

    node: Any = add
    with within(RunningNode(Run()) if in_a_job else None):
        assert await WatchedNode(RunnableLambda(node)).ainvoke({}, config_at(), x=1) == 1


async def test_without_a_config_a_node_is_as_it_was() -> None:
    outer = RunningNode(Run())
    with within(outer):
        found = await WatchedNode(bound_of(lambda s: current_node.get())).ainvoke({})
    assert found is outer


def test_a_watched_node_runs_asynchronously_only() -> None:
    with pytest.raises(TypeError):
        WatchedNode(bound_of(lambda s: s)).invoke({})


async def test_the_messages_of_a_speaking_node_are_the_answer() -> None:
    run = Run(declared={"a": SPEAKS})
    await run_node(run, lambda s: SAID)
    assert run.answer.of(LAST) == "said"
    run = Run()
    await run_node(run, lambda s: SAID)
    assert run.answer.of(LAST) == "last"


async def test_messages_that_a_node_was_given_are_not_its_words() -> None:
    run = Run(declared={"a": SPEAKS})
    await run_node(run, lambda s: SAID, given=SAID)
    assert run.answer.of(LAST) == "last"


async def test_words_of_a_node_inside_stay_though_the_outer_state_never_had_them() -> None:
    run = Run(declared={"a": SPEAKS, "a/i": SPEAKS})
    await run_node(run, lambda s: SAID, namespace=INSIDE)
    await run_node(run, lambda s: {"messages": [AIMessage("!", id="3")]})
    assert run.answer.of({"messages": [AIMessage("!", id="3")]}) == "said!"
    run = Run(declared={"a": SPEAKS})
    await run_node(run, lambda s: SAID)
    await run_node(run, lambda s: {"messages": [AIMessage("!", id="3")]})
    assert run.answer.of({"messages": [AIMessage("!", id="3")]}) == "!"


async def test_what_a_silent_node_says_for_words_that_it_removes_is_the_answer() -> None:
    run = Run(declared={"a": SPEAKS})
    instead = {"messages": [RemoveMessage(id="1"), AIMessage("safe", id="4")]}
    await run_node(run, lambda s: SAID)
    await run_node(run, lambda s: instead, namespace=INSIDE)
    await run_node(run, lambda s: {"messages": [AIMessage("!", id="3")]})
    assert run.answer.of({"messages": [AIMessage("!", id="3")]}) == "safe!"


def graph() -> Any:
    def inner(state: Any) -> Any:
        node = current_node.get()
        assert isinstance(node, RunningNode)
        return {"messages": [AIMessage(f"speaks: {node.speaks}", id="1")]}

    graph: Any = StateGraph
    return graph(dict).add_node("i", inner).add_edge(START, "i").compile()


async def test_a_graph_as_a_node_says_its_messages_but_no_call_of_its_own() -> None:
    run = Run(declared={"a": SPEAKS})
    await run_node(run, len, bound=graph())
    assert run.answer.of(LAST) == "speaks: False"
    run = Run(declared={"a": SPEAKS, "a/i": SPEAKS})
    await run_node(run, len, bound=graph())
    assert run.answer.of(LAST) == "last", "its own nodes speak for themselves"


async def test_results_of_tools_that_end_the_turn_are_kept_of_a_node_that_runs_tools() -> None:
    run, message = Run(), ToolMessage("x", tool_call_id="c", name="f")

    class Tools(RunnableLambda[Any, Any]):
        tools_by_name = {"f": SimpleNamespace(return_direct=True)}  # noqa: RUF012

    await run_node(run, len, bound=Tools(lambda s: {"messages": [message]}))
    assert run.answer.of({"messages": [message]}) == "x"


def raising(error: BaseException) -> Callable[[Any], Any]:
    async def node(state: Any) -> Any:
        raise error

    return node


async def ending(run: Run, error: BaseException) -> BaseException | None:
    """What comes of a node that raises it, in a stage that is open."""
    run.stage_started(A, {})
    try:
        await run_node(run, raising(error))
    except BaseException as raised:  # noqa: BLE001 - also what is no Exception
        return raised
    return None


async def test_a_node_that_raises_has_failed_until_its_next_try() -> None:
    run, error = Run(), ValueError()
    assert await ending(run, error) is error
    run.stages_left()
    assert run.told == [StageStarted("a", 0)]
    assert not run.waits
    run.stage_ended(A)
    assert run.told[1:] == [StageCompleted("a", 33)]


@pytest.mark.parametrize("error", [ValueError("x"), GraphInterrupt()])
async def test_a_node_that_failed_or_waits_is_told_of_when_its_graph_is_run_anew(
    error: Exception,
) -> None:
    run = Run()
    run.stage_started(INSIDE, {})
    with pytest.raises(type(error)):
        await run_node(run, raising(error), namespace=INSIDE)
    run.stage_started("a:1|2|i:9", {})
    assert run.told[1] == StageFailed("a/i", 0)


async def test_a_node_that_hands_over_to_the_graph_above_is_done() -> None:
    run, error = Run(), ParentCommand(Command(goto="b"))
    assert await ending(run, error) is error
    run.stages_left()
    assert run.told == [StageStarted("a", 0), StageCompleted("a", 33)]


async def test_a_node_that_waits_for_a_human_keeps_the_run_from_its_end() -> None:
    run, error = Run(), GraphInterrupt()
    assert await ending(run, error) is error
    assert run.waits
    run.stage_started("a:1|2|i:9", {})
    with pytest.raises(PipelineError):
        run.done({"answer": "x"})


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit()])
async def test_what_would_end_the_process_ends_the_run(error: BaseException) -> None:
    raised = await ending(Run(), error)
    assert isinstance(raised, PipelineError)
    assert raised.__cause__ is error


async def test_a_cancelled_node_closes_the_calls_that_nobody_can_cancel() -> None:
    run, closed, nodes = Run(), list[str](), list[RunningNode]()

    async def node(state: Any) -> Any:
        here = current_node.get()
        assert isinstance(here, RunningNode)
        nodes.append(here)
        here.open.add(lambda: closed.append("x"))
        if state:
            raise ValueError("x")
        raise asyncio.CancelledError

    with pytest.raises(ValueError, match="x"):
        await run_node(run, node, given={"x": 1})
    assert closed == []
    with pytest.raises(asyncio.CancelledError):
        await run_node(run, node)
    assert closed == ["x"]


@pytest.mark.parametrize("loop_is_gone", [True, False])
def test_a_node_that_is_thrown_away_has_raised_nothing(loop_is_gone: bool) -> None:
    context = copy_context()

    async def node(state: Any) -> Any:
        await asyncio.Event().wait()

    async def start() -> Coroutine[Any, Any, Any]:
        context.run(current_node.set, RunningNode(Run()))
        running = WatchedNode(bound_of(node)).ainvoke({}, config_at())
        await asyncio.create_task(step(running.send, None), context=context)
        if not loop_is_gone:
            await asyncio.create_task(step(running.close), context=context)
        return running

    async def step(take: Callable[..., object], *given: object) -> None:
        take(*given)

    running = asyncio.run(start())
    context.run(running.close)


async def test_the_error_handler_that_langgraph_adds_ends_its_nodes_stage() -> None:
    run = Run()
    run.stage_started(A, {})
    run.stage_started(INSIDE, {})
    await run_node(run, lambda s: {}, namespace=f"{INSIDE}|__error_handler__i:5")
    run.stages_left()
    assert run.told[2:] == [StageFailed("a/i", 0)]
