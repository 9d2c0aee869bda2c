"""Graphs that declare nobody to speak, and what a graph is told of its request."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.prebuilt import create_react_agent
from langgraph.runtime import Runtime
from langgraph.types import Command
from langgraph_swarm import create_handoff_tool, create_swarm
from pydantic import BaseModel

from sluice.domain.chat import Job, Question
from sluice.domain.events import StageCompleted, StageFailed, StageStarted
from sluice.offline_model.replies import Reply
from tests.paths import graphs
from tests.paths.conftest import Path, Told
from tests.paths.graphs import SPEAKS, State

pytestmark = pytest.mark.filterwarnings("ignore:create_react_agent has been moved")

PIECES = ["It is ", "3."]
ADDING = Reply.calling("add", {"a": 1, "b": 2})


@tool
def add(a: int, b: int) -> str:
    """Adds."""
    return str(a + b)


def progress(told: Told) -> list[int]:
    stages = (StageStarted, StageCompleted, StageFailed)
    return [event.progress for event in told.events if isinstance(event, stages)]


@pytest.mark.parametrize("create", [create_agent, create_react_agent])
async def test_an_agent_speaks_by_its_model_though_nothing_is_declared(
    path: Path, create: Callable[..., Any]
) -> None:
    path.model.script(ADDING, Reply(pieces=PIECES))
    told = await path.tell(lambda llm: create(path.chat_model(), [add]))
    assert told.done.answer == "It is 3."
    assert told.done.hint is None
    assert [token.content for token in told.tokens] == PIECES * path.speaks


def classifier(path: Path) -> Any:
    return graphs.chain(("classify", graphs.streaming(path.llm()), {}), ("say", lambda s: {}, {}))


def agent_inside(path: Path) -> Any:
    return graphs.chain(("helper", create_agent(path.chat_model(), []), {}))


def says_no(path: Path) -> Any:
    return graphs.chain(("classify", graphs.streaming(path.llm()), {"speaks": False}))


@pytest.mark.parametrize(
    ("build", "caller"),
    [(classifier, "classify"), (agent_inside, "helper/model"), (says_no, "classify")],
)
async def test_a_graph_that_declares_nobody_is_silent_and_says_why(
    path: Path, build: Callable[[Path], Any], caller: str
) -> None:
    path.model.script(Reply(pieces=PIECES))
    told = await path.tell(lambda llm: build(path))
    assert [token.content for token in told.tokens] == ["It is 3."] * path.speaks
    assert told.done.hint is not None
    assert f"these can call a model: {caller}." in told.done.hint
    assert "SLUICE_SPEAKING_NODES" in told.done.hint


async def test_a_graph_with_a_speaker_needs_no_hint(path: Path) -> None:
    path.model.script(Reply(pieces=PIECES))
    told = await path.tell(lambda llm: classifier(path), speaking=frozenset({"classify"}))
    assert told.done.hint is None
    assert progress(told)[-1] == 100


def again(state: State) -> str:
    return END if len(state.get("notes", ())) > 2 else "work"


def counted(state: State) -> Any:
    return {"notes": ["x"], "answer": "done"}


def by_edge(path: Path) -> Any:
    graph = StateGraph(State).add_node("work", counted).add_edge(START, "work")
    return graph.add_conditional_edges("work", again, ["work", END])


def by_edge_to_anywhere(path: Path) -> Any:
    graph = StateGraph(State).add_node("work", counted).add_edge(START, "work")
    return graph.add_conditional_edges("work", again)


def by_two_nodes(path: Path) -> Any:
    graph = StateGraph(State).add_node("work", counted).add_node("check", lambda s: {})
    graph.add_edge(START, "work").add_edge("work", "check")
    return graph.add_conditional_edges("check", again, ["work", END])


def by_command(path: Path) -> Any:
    def work(state: State) -> Any:
        return Command(goto=again(state), update=counted(state))

    return StateGraph(State).add_node("work", work).add_edge(START, "work")


def by_annotated_command(path: Path) -> Any:
    def work(state: State) -> Command[Literal["work", "__end__"]]:
        where: Any = again(state)
        return Command(goto=where, update=counted(state))

    return StateGraph(State).add_node("work", work).add_edge(START, "work")


def agent(path: Path) -> Any:
    path.model.script(ADDING, Reply(pieces=PIECES))
    return create_agent(path.chat_model(), [add])


def swarm(path: Path) -> Any:
    """Bob hands back, when all nodes have run, and Alice has the last word."""
    path.model.script(
        *(Reply.calling(f"transfer_to_{name}", {}) for name in ("bob", "alice")),
        Reply(pieces=PIECES),
    )
    over, back = (create_handoff_tool(agent_name=name) for name in ("bob", "alice"))
    alice = create_agent(path.chat_model(), [over], name="alice")
    bob = create_agent(path.chat_model(), [back], name="bob")
    return create_swarm([alice, bob], default_active_agent="alice").compile()


@pytest.mark.parametrize(
    "build",
    [
        by_edge,
        by_edge_to_anywhere,
        by_two_nodes,
        by_command,
        by_annotated_command,
        agent,
        swarm,
    ],
)
async def test_where_a_node_may_run_again_progress_stays_below_its_end(
    path: Path, build: Callable[[Path], Any]
) -> None:
    told = await path.tell(lambda llm: build(path))
    assert progress(told) == sorted(progress(told))
    assert max(progress(told)) < 100


class Typed(TypedDict, total=False):
    tone: str
    other: str


@dataclass
class Data:
    tone: str = "none"
    other: str = "none"


class Model(BaseModel):
    tone: str
    other: Annotated[str, "any"] = "none"


class Needed(BaseModel):
    unknown: str


def told_context(schema: Any) -> Callable[[Any], Any]:
    def answer(state: State, runtime: Runtime[Any]) -> Any:
        context = runtime.context
        return {"answer": repr(context)}

    def build(llm: Any) -> Any:
        graph = StateGraph(State, context_schema=schema).add_node("answer", answer, metadata=SPEAKS)
        return graph.add_edge(START, "answer")

    return build


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (Typed, {"tone": "kind"}),
        (Data, Data("kind")),
        (Model, Model(tone="kind")),
        (Needed, None),
        (None, None),
    ],
)
async def test_a_graphs_context_is_what_it_has_keys_for_in_the_metadata(
    path: Path, schema: Any, expected: object
) -> None:
    metadata = {"tone": "kind", "beyond": "x"}
    job = Job("job", "chat", "ann", "A2", "Tell me", "request", metadata=metadata)
    told = await path.tell(told_context(schema), Question(job, ()))
    assert told.done.answer == repr(expected)
