"""A node that only the tap hears is told of as any other, by a shorter way."""

import asyncio
from contextvars import Context, ContextVar
from types import SimpleNamespace
from typing import Any, TypedDict

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import (
    RunnableConfig,
    RunnableLambda,
    RunnablePassthrough,
    RunnableSequence,
)
from langchain_core.tracers._streaming import _StreamingCallbackHandler
from langgraph.graph import START, StateGraph
from langgraph.types import Command, RetryPolicy
from pytest_mock import MockerFixture

from sluice.domain.chat import Question
from sluice.domain.errors import PipelineError
from sluice.domain.events import Done, Event, StageCompleted, StageFailed, StageStarted, Token
from sluice.infrastructure.pipeline import node_sequence
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.node_sequence import NodeSequence, shorten
from sluice.infrastructure.pipeline.nodes import WatchedNode
from sluice.infrastructure.pipeline.stage_path import StagePath
from sluice.infrastructure.pipeline.tap import Tap
from sluice.infrastructure.pipeline.token_path import TokenPath
from tests.doubles import a_job

MODEL = FakeListChatModel(responses=["yes"])
SPEAKS = {"speaks": True}


class State(TypedDict, total=False):
    message: str
    seen: list[str]
    answer: str


class Foreign(BaseCallbackHandler):
    """Listens as a tracer does."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def on_chain_start(self, *_: Any, name: str = "", **__: Any) -> None:
        self.started.append(name)


def graph_of(*nodes: Any, retry: RetryPolicy | None = None) -> "StateGraph[State]":
    graph = StateGraph(State)
    before = START
    for node in nodes:
        graph.add_node(node.__name__, node, metadata=SPEAKS, retry_policy=retry)
        graph.add_edge(before, node.__name__)
        before = node.__name__
    return graph


async def ran(graph: Any) -> tuple[list[Event], Done]:
    told: list[Event] = []
    done = await TokenPath(WatchedGraph(graph), reader="tap").run(Question(a_job()), told.append)
    assert isinstance(done, Done)
    return told, done


@pytest.fixture
def shorter(mocker: MockerFixture) -> Any:
    return mocker.spy(node_sequence, "_inner")


async def by_callbacks_only(state: State, config: RunnableConfig) -> State:
    """All that it hands on of its config: whose work the call is stands there, too."""
    work: Any = RunnablePassthrough() | MODEL
    answer = await work.ainvoke(state["message"], config={"callbacks": config.get("callbacks")})
    return {"answer": answer.text}


async def test_what_is_told_is_the_same_whoever_else_listens(shorter: Any) -> None:
    alone = await ran(graph_of(by_callbacks_only))
    assert shorter.call_count == 1
    foreign = Foreign()
    graph: Any = graph_of(by_callbacks_only).compile()
    assert await ran(graph.with_config(callbacks=[foreign])) == alone
    assert shorter.call_count == 1
    assert "by_callbacks_only" in foreign.started
    node = "by_callbacks_only"
    tokens = [event for event in alone[0] if isinstance(event, Token)]
    assert "".join(token.content for token in tokens) == "yes"
    assert [event for event in alone[0] if event not in tokens] == [
        StageStarted(node, 0),
        StageCompleted(node, 100),
    ]


async def test_a_call_that_is_tagged_silent_by_its_node_is_so() -> None:
    graph: Any = graph_of(by_callbacks_only).compile()
    graph.nodes["by_callbacks_only"].tags = ["nostream"]
    told, done = await ran(graph)
    assert done.answer == "yes"
    assert [event.content for event in told if isinstance(event, Token)] == ["yes"]  # at the end
    assert [type(event) for event in told] == [StageStarted, StageCompleted, Token]


async def test_what_a_nodes_own_work_inherits_is_the_same_whoever_else_listens(
    shorter: Any, mocker: MockerFixture
) -> None:
    heard: list[dict[str, Any]] = []
    started = mocker.spy(Tap, "on_chain_start")

    class Mine(BaseCallbackHandler):
        run_inline = True

        def on_chain_start(self, *_: Any, **told: Any) -> None:
            metadata, parent = told["metadata"].items(), told["parent_run_id"]
            now = {
                "tags": [tag for tag in told["tags"] if not tag.startswith("seq:")],
                "metadata": {key: it for key, it in metadata if not str(it).startswith("node:")},
                "parent_run_id": parent
                in [call.kwargs["run_id"] for call in started.call_args_list],
                "run_id": None,
            }
            heard.append(told | now)

    async def node(state: State, config: RunnableConfig) -> State:
        async def part(state: State) -> State:
            return state

        work: Any = RunnableLambda(part) | part
        mine = Mine()
        await work.ainvoke(state, {"callbacks": [mine]})
        config["callbacks"].add_handler(mine)  # type: ignore[union-attr]
        elsewhere = work.ainvoke(state, {"callbacks": config["callbacks"]})
        await asyncio.create_task(elsewhere, context=Context())  # all that it knows is its config
        return {"answer": "yes"}

    def graph() -> Any:
        graph: Any = graph_of(node).compile()
        graph.nodes["node"].tags = ["of the node"]
        return graph.with_config(tags=["of the graph"], metadata={"team": 1})

    await ran(graph())
    assert shorter.call_count == 1
    await ran(graph().with_config(callbacks=[Foreign()]))
    assert shorter.call_count == 1
    assert [told["name"] for told in heard] == 4 * ["RunnableSequence", "part", "part"]
    for told in heard[3:6]:
        assert told["tags"] == ["of the graph", "of the node"]
        assert told["metadata"]["team"] == 1
    assert heard[:6] == heard[6:]


@pytest.mark.parametrize("path", [StagePath, TokenPath])
async def test_whoever_wants_every_nodes_output_in_pieces_gets_it(path: Any, shorter: Any) -> None:
    class Pieces(Foreign, _StreamingCallbackHandler[Any]):
        """As `astream_events` has: LangGraph streams its nodes."""

        def tap_output_aiter(self, run_id: Any, output: Any) -> Any:
            return output

        tap_output_iter = tap_output_aiter

    graph: Any = graph_of(by_callbacks_only).compile()
    if path is TokenPath:
        graph = graph.with_config(callbacks=[Pieces()])
    told: list[Event] = []
    done = await path(WatchedGraph(graph)).run(Question(a_job()), told.append)
    assert (done.answer, shorter.call_count) == ("yes", 0)
    assert StageCompleted("by_callbacks_only", 100) in told


async def test_a_graph_within_a_graph_goes_on_in_the_other_one(shorter: Any) -> None:
    async def leaves(state: State) -> Command[str]:
        return Command(goto="answer", graph=Command.PARENT, update={"seen": ["a"]})

    async def answer(state: State) -> State:
        return {"answer": "yes"}

    def graph() -> Any:
        graph = StateGraph(State)
        graph.add_node("child", graph_of(leaves).compile(), destinations=("answer",))
        graph.add_node("answer", answer)
        return graph.add_edge(START, "child").compile()

    alone = await ran(graph())
    assert shorter.call_count == 2
    nodes = WatchedGraph(graph()).graph.nodes
    assert [isinstance(nodes[name].node, NodeSequence) for name in ("child", "answer")] == [
        False,
        True,
    ]
    assert [event for event in alone[0] if isinstance(event, StageFailed)] == []
    assert await ran(graph().with_config(callbacks=[Foreign()])) == alone


async def test_outside_a_run_a_graph_runs_as_langgraph_runs_it(shorter: Any) -> None:
    graph = WatchedGraph(graph_of(by_callbacks_only)).graph
    assert (await graph.ainvoke({"message": "m"}))["answer"] == "yes"
    config: RunnableConfig = {"callbacks": [Foreign()]}
    assert (await graph.ainvoke({"message": "m"}, config))["answer"] == "yes"
    with pytest.raises(TypeError):
        graph.invoke({"message": "m"})
    assert shorter.call_count == 0


async def test_what_a_node_sets_in_its_context_is_its_own(shorter: Any) -> None:
    mine: ContextVar[str] = ContextVar("mine", default="nobody's")

    async def one(state: State) -> State:
        mine.set("one's")
        return {"seen": [mine.get()]}

    async def other(state: State) -> State:
        return {"answer": f"{state['seen'][0]} and {mine.get()}"}

    _, done = await ran(graph_of(one, other))
    assert done.answer == "one's and nobody's"
    assert shorter.call_count == 2


async def test_a_node_that_is_tried_again_is_one_stage(shorter: Any) -> None:
    tries: list[int] = []

    async def node(state: State) -> State:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError
        return {"answer": "yes"}

    retry = RetryPolicy(initial_interval=0.01, jitter=False)
    told, done = await ran(graph_of(node, retry=retry))
    assert (done.answer, shorter.call_count) == ("yes", 2)
    assert told[:2] == [StageStarted("node", 0), StageCompleted("node", 100)]


async def test_a_node_that_goes_where_it_wants_and_one_that_fails(shorter: Any) -> None:
    async def answer(state: State) -> State:
        return {"answer": "yes"}

    async def chooses(state: State) -> Command[str]:
        return Command(goto="answer", update={"seen": ["a"]})

    graph = StateGraph(State)
    graph.add_node("chooses", chooses, destinations=("answer",))
    graph.add_node("answer", answer)
    graph.add_edge(START, "chooses")
    told, done = await ran(graph)
    assert (done.answer, shorter.call_count) == ("yes", 2)
    assert [event.stage for event in told if isinstance(event, StageCompleted)] == [
        "chooses",
        "answer",
    ]

    async def fails(state: State) -> State:
        raise ValueError

    with pytest.raises(PipelineError):
        await ran(graph_of(fails))


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (None, {}),
        ({"metadata": {"team": 1}}, {"team": 1}),
        ({"metadata": {"team": 1, "langgraph_step": 1}}, {"team": 1, "langgraph_step": 2}),
    ],
)
async def test_a_step_later_is_another_only_where_steps_are_told(config: Any, told: Any) -> None:
    async def tell(_: object, config: RunnableConfig) -> Any:
        return config["metadata"]

    now = NodeSequence(RunnableLambda(tell), WatchedNode(MODEL), [])
    later = now.one_step_later()
    assert await later.ainvoke(None, config) == told
    assert [each async for each in later.astream(None, config)] == [told]
    told = (config or {}).get("metadata", {})
    assert await now.ainvoke(None, config) == told
    assert [each async for each in now.astream(None, config)] == [told]


@pytest.mark.parametrize(
    "sequence",
    [
        None,
        object(),
        MODEL,
        SimpleNamespace(steps=[]),
        SimpleNamespace(steps=[WatchedNode(MODEL)]),
        RunnableSequence(MODEL, MODEL),
        RunnableSequence(WatchedNode(WatchedGraph(graph_of(by_callbacks_only)).graph), MODEL),
    ],
)
def test_what_is_not_as_we_know_it_stays_as_langgraph_made_it(sequence: object) -> None:
    node = SimpleNamespace(node=sequence)
    shorten(node)
    assert node.node is sequence
    shorten(object())


async def test_who_reads_in_another_way_has_langgraphs_sequence(shorter: Any) -> None:
    told: list[Event] = []
    graph = WatchedGraph(graph_of(by_callbacks_only))
    assert isinstance(graph.graph.nodes["by_callbacks_only"].node, NodeSequence)
    done = await TokenPath(graph, reader="messages").run(Question(a_job()), told.append)
    assert isinstance(done, Done)
    assert (done.answer, shorter.call_count) == ("yes", 0)
    assert StageCompleted("by_callbacks_only", 100) in told
