"""A node that only the tap hears is told of as any other, by a shorter way."""

from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, TypedDict

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.types import Command, RetryPolicy
from pytest_mock import MockerFixture

from sluice.domain.chat import Question
from sluice.domain.errors import PipelineError
from sluice.domain.events import Done, Event, StageCompleted, StageStarted, Token
from sluice.infrastructure.pipeline import node_sequence
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.node_sequence import NodeSequence, shorten
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
    answer = await MODEL.ainvoke(state["message"], config={"callbacks": config.get("callbacks")})
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
    "sequence", [None, object(), MODEL, SimpleNamespace(steps=[]), SimpleNamespace(steps=[MODEL])]
)
def test_what_is_not_as_we_know_it_stays_as_langgraph_made_it(sequence: object) -> None:
    node = SimpleNamespace(node=sequence)
    shorten(node)
    assert node.node is sequence


async def test_who_reads_in_another_way_has_langgraphs_sequence(shorter: Any) -> None:
    told: list[Event] = []
    graph = WatchedGraph(graph_of(by_callbacks_only))
    assert isinstance(graph.graph.nodes["by_callbacks_only"].node, NodeSequence)
    done = await TokenPath(graph, reader="messages").run(Question(a_job()), told.append)
    assert isinstance(done, Done)
    assert (done.answer, shorter.call_count) == ("yes", 0)
    assert StageCompleted("by_callbacks_only", 100) in told
