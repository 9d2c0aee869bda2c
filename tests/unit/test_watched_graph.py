"""A user's graph, made ready to be read: what is declared, refused, kept, and given to a run."""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from pydantic import BaseModel

from sluice.domain.chat import Turn
from sluice.domain.graph_state import Head
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.node_sequence import NodeSequence
from sluice.infrastructure.pipeline.nodes import WatchedNode
from tests.unit.small_graphs import SPEAKS, MemorySaver, State, a_question, chain

MODEL: Any = ChatOpenAI(model="m", api_key="x")
HISTORY = [Turn("system", "Be brief"), Turn("user", "first"), Turn("assistant", "second")]


def note(state: State) -> State:
    return {"notes": ["x"]}


def calls(state: State) -> State:
    return {"answer": str(MODEL.invoke("x").text)}


def ask(state: State) -> State:
    return {"answer": interrupt("?")}


def stopping() -> Any:
    return chain(a=note, b=note).compile(interrupt_before=["b"])


def missing() -> Any:
    raise ImportError(name="langgraph.checkpoint.sqlite")


def unasked() -> Any:
    pytest.fail("a saver was asked for")


def spoken(graph: WatchedGraph) -> set[str]:
    return {name for name in graph.graph.nodes if graph.visibility.declared(name).speaks}


def test_only_a_graph_is_watched() -> None:
    with pytest.raises(TypeError, match=r"^a StateGraph is wanted, not str$"):
        WatchedGraph("graph")
    with pytest.raises(TypeError, match="must have an entrypoint"):
        WatchedGraph(StateGraph(State).add_node("a", note))
    root: Any = Annotated[list[str], operator.add]
    with pytest.raises(TypeError, match="a schema with fields is wanted, such as a TypedDict: "):
        WatchedGraph(StateGraph(root).add_node("a", note).add_edge(START, "a"))


@pytest.mark.parametrize("key", ["message", "messages", "question"])
def test_a_graph_that_is_not_told_the_question_says_so(key: str) -> None:
    graph: Any = StateGraph(TypedDict("Asked", {key: str}))  # type: ignore[operator]
    graph.add_node("a", lambda _: {}, metadata=SPEAKS).add_edge(START, "a")
    told = (
        "the graph's input has neither message nor messages, so its nodes are not told the"
        " question: name one so in the state's schema"
    )
    assert [*WatchedGraph(graph).notices] == ([told] if key == "question" else [])


def test_a_graph_speaks_by_its_metadata_and_by_what_a_setting_names() -> None:
    built = chain(a=(note, SPEAKS), b=note)
    for graph in (built, built.compile()):
        assert spoken(WatchedGraph(graph)) == {"a"}
        assert spoken(WatchedGraph(graph, frozenset({"b"}))) == {"a", "b"}
        named: Any = {"speaks": frozenset({"b"}), "data": frozenset({"a"})}
        watched = WatchedGraph(graph, named)
        assert spoken(watched) == {"a", "b"}
        assert watched.visibility.declared("a").data
        assert ([*watched.notices], watched.hint) == ([], None)


def test_a_name_that_no_node_has_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody"):
        WatchedGraph(chain(a=(note, SPEAKS)), frozenset({"nobody"}))


def test_nodes_inside_are_watched_by_their_paths_and_the_users_graph_is_as_it_was() -> None:
    inner = chain(say=(note, SPEAKS)).compile()
    outer = chain(a=note, inner=inner).compile()
    watched = WatchedGraph(outer)
    assert watched.visibility.declared("inner/say").speaks
    assert not watched.visibility.declared("say").speaks
    for graph, ours in ((watched.graph, True), (outer, False)):
        bound = {name: isinstance(node.bound, WatchedNode) for name, node in graph.nodes.items()}
        assert bound == {START: False, "a": ours, "inner": ours}
    assert isinstance(watched.graph.nodes["a"].node, NodeSequence)
    assert watched.graph is not outer
    assert isinstance(inner.nodes["say"].bound, WatchedNode) is False


def test_what_langgraph_adds_by_itself_is_declared_nowhere() -> None:
    built = StateGraph(State)
    built.add_node("a", note, metadata=SPEAKS, error_handler=lambda state: {"notes": ["y"]})
    watched = WatchedGraph(built.add_edge(START, "a"))
    with pytest.raises(ValueError, match="__error_handler__a"):
        WatchedGraph(built, frozenset({"__error_handler__a"}))
    hidden = {name for name in watched.graph.nodes if name.startswith("__")} - {START}
    assert hidden
    for name in hidden:
        assert isinstance(watched.graph.nodes[name].bound, WatchedNode)
        assert not watched.visibility.declared(name).speaks


def test_a_graph_that_declares_nobody_says_what_could_speak() -> None:
    says = (
        "no node of the graph speaks, so nothing is streamed; as far as can be seen, {}."
        ' Declare whose text is the answer, by metadata={{"speaks": True}} or SLUICE_SPEAKING_NODES'
    )
    quiet = WatchedGraph(chain(a=note))
    assert [*quiet.notices] == [quiet.hint] == [says.format("none calls a model")]
    caller = WatchedGraph(chain(a=calls, b=note, c=calls))
    assert [*caller.notices] == [caller.hint] == [says.format("these can call a model: a, c")]


def test_a_graph_whose_node_may_run_again_is_known() -> None:
    built = chain(a=note, b=note)
    assert not WatchedGraph(built).has_loop
    assert WatchedGraph(built.add_edge("b", "a")).has_loop


@pytest.mark.parametrize(
    ("graph", "keeps", "kept"),
    [
        (lambda: chain(a=note), False, False),
        (lambda: chain(a=note), True, True),
        (lambda: chain(a=ask), False, True),
        (stopping, False, True),
        (lambda: chain(a=note).compile(checkpointer=InMemorySaver()), False, True),
    ],
)
async def test_a_graph_has_a_saver_if_it_needs_one(
    graph: Callable[[], Any], keeps: bool, kept: bool
) -> None:
    saver = MemorySaver()
    watched = WatchedGraph(graph(), new_saver=(lambda: saver) if kept else unasked, keeps=keeps)
    assert watched.saver is (saver if kept else None)
    if kept:
        assert watched.graph.checkpointer is saver
    assert watched.stops is (graph is stopping)


@pytest.mark.parametrize("keeps", [True, False])
async def test_what_must_be_kept_and_cannot_be_is_refused(keeps: bool) -> None:
    graph = chain(a=note if keeps else ask)
    with pytest.raises(TypeError, match=r"until the answer: no store here can; set SLUICE_STORE"):
        WatchedGraph(graph, new_saver=lambda: None, keeps=keeps)
    text = r"until the answer: the extra `state` is not installed \(langgraph.checkpoint.sqlite\)$"
    with pytest.raises(TypeError, match=text):
        WatchedGraph(graph, new_saver=missing, keeps=keeps)


async def test_a_graph_that_stops_is_refused_where_nobody_offers_a_saver() -> None:
    with pytest.raises(TypeError, match=r"^the graph stops for a human.*: nothing here can$"):
        WatchedGraph(stopping())
    assert WatchedGraph(chain(a=ask)).saver is None


async def test_what_only_may_ask_does_without_a_saver_that_cannot_be_had() -> None:
    graph = chain(a=note).compile(checkpointer=InMemorySaver())
    own = graph.checkpointer  # where msgpack is strict, LangGraph has made a copy
    for offered in (missing, lambda: None):
        watched = WatchedGraph(graph, new_saver=offered)
        assert watched.saver is None
        assert watched.graph.checkpointer is own


class Synchronous(InMemorySaver):
    async def aget_tuple(self, config: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("where", ["the graph", "a graph inside"])
async def test_a_checkpointer_that_is_synchronous_is_refused(where: str) -> None:
    graph = chain(a=note).compile(checkpointer=Synchronous())
    with pytest.raises(TypeError, match="the graph's checkpointer Synchronous is synchronous"):
        WatchedGraph(graph if where == "the graph" else chain(inner=graph))
    if where == "the graph":  # ours takes its place
        assert WatchedGraph(graph, new_saver=MemorySaver, keeps=True).saver


def test_a_run_is_given_the_question_with_the_chat_so_far() -> None:
    graph = WatchedGraph(chain(a=note))
    asked = a_question("third", history=HISTORY, metadata={"deep": [1]})
    assert graph.input(asked) == {
        "message": "third",
        "messages": [
            SystemMessage("Be brief", id="job:0"),
            HumanMessage("first", id="job:1"),
            AIMessage("second", id="job:2"),
            HumanMessage("third", id="job:3"),
        ],
    }
    kept = graph.input(a_question("third", history=HISTORY, head=Head("thread")))
    assert kept["messages"] == [HumanMessage("third", id="job:0")]


class Wanted(TypedDict, total=False):
    chat_id: str
    job_id: str
    user_id: str
    metadata: dict[str, Any]


class Wide(Wanted, total=False):
    message: str
    answer: str


def answer(state: Any) -> Any:
    return {"answer": "x"}


def test_a_run_is_given_only_what_its_schema_has() -> None:
    graph = StateGraph(Wide, input_schema=Wanted).add_node("a", answer).add_edge(START, "a")
    asked = a_question(metadata={"deep": [1]})
    assert WatchedGraph(graph).input(asked) == {
        "chat_id": "chat", "job_id": "job", "user_id": "ann", "metadata": {"deep": [1]},
    }  # fmt: skip


class Chosen(BaseModel):
    message: str = ""
    answer: str = ""


def test_a_schema_may_be_a_model() -> None:
    graph = StateGraph(Chosen).add_node("a", answer).add_edge(START, "a")
    assert WatchedGraph(graph).input(a_question("x")) == {"message": "x"}


class Tone(TypedDict, total=False):
    tone: str
    depth: int


@dataclass
class Settings:
    tone: str = ""
    depth: int = field(default=0)


@pytest.mark.parametrize("schema", [Tone, Settings])
def test_a_runs_context_is_what_its_schema_has_of_the_metadata(schema: type) -> None:
    graph = StateGraph(State, context_schema=schema).add_node("a", note).add_edge(START, "a")
    watched = WatchedGraph(graph)
    assert watched.context(a_question(metadata={"tone": "dry", "other": 1})) == {"tone": "dry"}
    assert watched.context(a_question(metadata={"other": 1})) is None
    assert WatchedGraph(chain(a=note)).context(a_question(metadata={"tone": "dry"})) is None
