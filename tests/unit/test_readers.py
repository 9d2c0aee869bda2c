"""Two readers of LangGraph's streams: stages from `astream_events`, and from `tasks`."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, TypedDict
from uuid import uuid4

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.tracers import event_stream
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import interrupt

from sluice.application.heard_calls import CountedCall
from sluice.application.model_calls import current_node
from sluice.domain.chat import Job, Question
from sluice.domain.events import (
    Data,
    Done,
    Event,
    StageCompleted,
    StageFailed,
    StageStarted,
    Token,
    Usage,
)
from sluice.domain.graph_state import Pause, Resumption
from sluice.infrastructure.pipeline.calls import SPOKEN
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.running_node import RunningNode
from sluice.infrastructure.pipeline.stage_path import StagePath, _Counter, _StageEvents
from sluice.infrastructure.pipeline.token_path import TokenPath, _speak, _Tasks
from tests.paths import graphs
from tests.unit.graph_runs import A, B, Run
from tests.unit.small_graphs import MemorySaver, a_question

BEGUN, OVER = StageStarted("a", 0), StageCompleted("a", 33)


def chain(
    stages: _StageEvents,
    kind: str,
    *,
    depth: int = 1,
    name: str = "a",
    namespace: str = A,
    node: str | None = "a",
) -> None:
    metadata = {"langgraph_checkpoint_ns": namespace}
    if node is not None:
        metadata["langgraph_node"] = node
    stages.learn(
        {"event": f"on_chain_{kind}", "name": name, "parent_ids": [""] * depth,
         "metadata": metadata, "data": {}}
    )  # fmt: skip


async def test_a1s_stage_is_the_outermost_run_of_its_name() -> None:
    run = Run("events")
    stages = _StageEvents(run)
    chain(stages, "start", depth=1)
    chain(stages, "start", depth=2)
    chain(stages, "end", depth=2)
    chain(stages, "stream", depth=1)
    assert run.told == [BEGUN]
    chain(stages, "end", depth=1)
    assert run.told == [BEGUN, OVER]
    chain(stages, "end", depth=1)
    chain(stages, "start", depth=3)
    chain(stages, "end", depth=3)
    assert run.told[2:] == [StageStarted("a", 33), OVER]


async def test_a1s_stages_may_stand_side_by_side() -> None:
    run = Run("events")
    stages = _StageEvents(run)
    chain(stages, "start")
    chain(stages, "start", name="b", node="b", namespace=B)
    chain(stages, "end")
    assert run.told == [BEGUN, StageStarted("b", 0), OVER]


async def test_a1_has_no_stage_of_what_is_no_node() -> None:
    run = Run("events")
    stages = _StageEvents(run)
    chain(stages, "start", name="step")
    chain(stages, "start", node=None)
    assert run.told == []


async def test_on_a1_a_node_that_nobody_knows_says_itself_whether_it_is_a_stage() -> None:
    run = Run("events")
    metadata = {"langgraph_checkpoint_ns": "z:1", "langgraph_node": "z", "stage": False}
    _StageEvents(run).learn(
        {"event": "on_chain_start", "name": "z", "parent_ids": [""], "metadata": metadata}
    )
    assert run.told == []


async def test_a1_tells_ends_that_nobody_reports_with_any_event() -> None:
    run = Run("events")
    stages = _StageEvents(run)
    chain(stages, "start")
    run.node_left(A, StageFailed)
    chain(stages, "start", name="step")
    assert run.told == [BEGUN, StageFailed("a", 0)]


async def test_on_a1_nobody_wants_the_tokens_of_a_call_that_only_it_hears() -> None:
    run = Run("events")
    counter = _Counter(run)
    events = event_stream._AstreamEventsCallbackHandler()
    teller = counter.take(uuid4(), [counter, events])
    assert type(teller) is CountedCall
    teller.ended(Usage(9, 9, 9), "length")
    assert run.calls.usage == Usage(1, 2, 3), "LangChain reports the end"
    assert counter.take(uuid4(), [counter]) is not None
    assert counter.take(uuid4(), [counter, events, object()]) is None


def a_graph() -> WatchedGraph:
    """A node that speaks, and one that ends with an answer."""

    def say(state: graphs.State) -> dict[str, Any]:
        get_stream_writer()({"token": "said", "name": "n", "data": 1})
        return {"messages": AIMessage("no answer beside one")}

    def answer(state: graphs.State) -> dict[str, Any]:
        return {"answer": f"said {state['message']}"}

    return WatchedGraph(
        graphs.chain(("say", say, {"speaks": True, "data": True}), ("answer", answer, {}))
    )


Making = Callable[..., StagePath | TokenPath]
PATHS: dict[str, Making] = {
    "A1": StagePath,
    "tap": partial(TokenPath, reader="tap"),
    "messages": partial(TokenPath, reader="messages"),
}


@pytest.mark.parametrize("name", PATHS)
async def test_each_path_runs_a_graph_to_its_answer_and_says_whose_model_it_was(name: str) -> None:
    told = list[Event]()
    job = Job("job", "chat", "ann", "A2", "why", "request")
    done = await PATHS[name](a_graph()).run(Question(job), told.append)
    assert done == Done("A1" if name == "A1" else "A2", "said why")
    said, data = [Token("said", "say"), Token(" why", "say")], Data("n", 1, "say")
    expected = [data] if name == "A1" else [said[0], data, said[1]]
    assert [event for event in told if isinstance(event, Token | Data)] == expected
    assert [e.stage for e in told if isinstance(e, StageCompleted)] == ["say", "answer"]
    done = await PATHS[name](a_graph(), offline=True).run(Question(job), told.append)
    assert isinstance(done, Done)
    assert done.offline_model


@pytest.mark.parametrize("name", PATHS)
async def test_on_each_path_the_answer_is_the_states_though_the_graph_gives_out_less(
    name: str,
) -> None:
    class Notes(TypedDict):
        notes: list[str]

    graph: Any = StateGraph(graphs.State, output_schema=Notes)
    graph.add_node("answer", lambda state: {"answer": "kept", "notes": ["given out"]})
    watched = WatchedGraph(graph.add_edge(START, "answer"))
    job = Job("job", "chat", "ann", "A2", "why", "request")
    done = await PATHS[name](watched).run(Question(job), lambda event: None)
    assert isinstance(done, Done)
    assert done.answer == "kept"


@pytest.mark.parametrize("name", PATHS)
async def test_each_path_has_the_steps_the_state_and_the_context_that_langgraph_gives(
    name: str,
) -> None:
    """An answer that is not the last node's is the answer, after more steps than 25 too."""

    class Who(TypedDict):
        who: str

    def answer(state: graphs.State, runtime: Runtime[Who]) -> dict[str, Any]:
        return {"answer": f"for {runtime.context['who']}"}

    graph: Any = StateGraph(graphs.State, context_schema=Who)
    graph.add_node("answer", answer).add_edge(START, "answer")
    for before, node in pairwise(["answer", *map(str, range(30))]):
        graph.add_node(node, lambda state: {"notes": ["x"]}).add_edge(before, node)
    job = Job("job", "chat", "ann", "A2", "why", "request", metadata={"who": "Bo"})
    done = await PATHS[name](WatchedGraph(graph)).run(Question(job), lambda event: None)
    assert isinstance(done, Done)
    assert done.answer == "for Bo"


async def test_the_tap_is_the_reader_where_none_is_named() -> None:
    readers = list[str]()

    def answer(state: graphs.State) -> dict[str, Any]:
        node = current_node.get()
        assert isinstance(node, RunningNode)
        readers.append(node.run.reader)
        return {"answer": "x"}

    graph = WatchedGraph(graphs.chain(("answer", answer, {})))
    job = Job("job", "chat", "ann", "A2", "why", "request")
    for path in (StagePath, TokenPath, PATHS["messages"]):
        await path(graph).run(Question(job), lambda event: None)
    assert readers == ["events", "tap", "messages"]


@pytest.mark.parametrize("name", PATHS)
async def test_each_path_that_has_tokens_hears_a_chat_model(name: str) -> None:
    model, told = GenericFakeChatModel(messages=iter([AIMessage("a b")])), list[Event]()

    async def say(state: graphs.State) -> dict[str, Any]:
        return {"messages": await model.ainvoke("x")}

    graph = WatchedGraph(graphs.chain(("say", say, graphs.SPEAKS)))
    job = Job("job", "chat", "ann", "A2", "why", "request")
    await PATHS[name](graph).run(Question(job), told.append)
    tokens = [event.content for event in told if isinstance(event, Token)]
    assert tokens == ([] if name == "A1" else ["a", " ", "b"])


@pytest.mark.parametrize("name", PATHS)
async def test_on_each_path_data_that_was_told_before_a_pause_is_not_told_again(name: str) -> None:
    def ask(state: graphs.State) -> dict[str, Any]:
        get_stream_writer()({"name": "n", "data": 1})
        return {"answer": interrupt("?")}

    saver, told = MemorySaver(), list[Event]()
    graph = WatchedGraph(graphs.chain(("ask", ask, {"data": True})), new_saver=lambda: saver)
    pause = await PATHS[name](graph).run(a_question(), told.append)
    assert isinstance(pause, Pause)
    kept = replace(pause, said=json.loads(json.dumps(pause.said)))
    asked = a_question(resumption=Resumption(kept, {pause.requests[0].input_id: "yes"}))
    done = await PATHS[name](graph).run(asked, told.append)
    assert isinstance(done, Done)
    assert done.answer == "yes"
    assert [event for event in told if isinstance(event, Data)] == [Data("n", 1, "ask")]


PUSHED = "__pregel_push"


def begins(
    tasks: _Tasks, own: str = A, *above: str, triggers: tuple[str, ...] = ("x",), **metadata: Any
) -> None:
    name, _, task_id = own.partition(":")
    tasks.learn(above, {"name": name, "id": task_id, "triggers": triggers, "metadata": metadata})


def ends(
    tasks: _Tasks, own: str = A, *above: str, error: object = None, interrupts: Any = ()
) -> None:
    name, _, task_id = own.partition(":")
    tasks.learn(above, {"name": name, "id": task_id, "error": error, "interrupts": interrupts})


async def test_a_task_is_a_stage() -> None:
    run = Run("messages")
    tasks = _Tasks(run)
    begins(tasks)
    assert run.told == [BEGUN]
    begins(tasks, "i:3", A)
    ends(tasks, "i:3", A)
    ends(tasks)
    assert [event.stage for event in run.told] == ["a", "a/i", "a/i", "a"]  # type: ignore[union-attr]
    assert isinstance(run.told[-1], StageCompleted)


@pytest.mark.parametrize("how", [{"error": "ValueError()"}, {"interrupts": [1]}])
async def test_a_task_that_fails_or_waits_stays_open_and_lets_others_speak(
    how: Mapping[str, Any],
) -> None:
    run = Run("messages")
    tasks = _Tasks(run)
    begins(tasks)
    run.token(A, "a", "1")
    run.token(B, "b", "2")
    ends(tasks, **how)
    assert run.told == [BEGUN, Token("1", "a"), Token("2", "b")]


async def test_a_task_of_a_graph_that_a_node_runs_as_a_root_is_inside_that_node() -> None:
    run = Run("messages")
    tasks = _Tasks(run)
    begins(tasks, "i:3", sluice_root=A)
    ends(tasks, "i:3")
    assert [event.stage for event in run.told] == ["a/i", "a/i"]  # type: ignore[union-attr]


async def test_a_task_says_itself_whether_it_is_a_stage() -> None:
    run = Run("messages")
    begins(_Tasks(run), "unknown:1", stage=False)
    assert run.told == []


async def test_ends_that_nobody_reports_are_told_with_any_task() -> None:
    run = Run("messages")
    tasks = _Tasks(run)
    begins(tasks)
    run.node_left(A, StageFailed)
    ends(tasks, "other:9")
    assert run.told == [BEGUN, StageFailed("a", 0)]


def located(tasks: _Tasks, namespace: str, node: str, **fields: Any) -> None:
    """Its own start says where it is."""
    metadata = {
        "langgraph_checkpoint_ns": namespace,
        "langgraph_node": node,
        "langgraph_path": (PUSHED, 0),
        **fields.pop("metadata", {}),
    }
    tasks.on_chain_start({}, {}, run_id=uuid4(), metadata=metadata, name=fields.get("name", node))


async def test_a_pushed_task_waits_until_its_start_says_where_it_is() -> None:
    run = Run("messages")
    tasks = _Tasks(run)
    begins(tasks, "i:3", triggers=(PUSHED,))
    assert run.told == []
    located(tasks, "a:1|i:3", "i")
    ends(tasks, "i:3")
    assert run.told == [StageStarted("a/i", 0), StageCompleted("a/i", 33)]


async def test_a_pushed_task_may_start_before_it_is_told_of() -> None:
    run = Run("messages")
    tasks = _Tasks(run)
    located(tasks, "a:1|i:3", "i")
    assert run.told == []
    begins(tasks, "i:3", triggers=(PUSHED,))
    assert run.told == [StageStarted("a/i", 0)]
    located(tasks, "a:1|i:3", "i")  # its next try
    ends(tasks, "i:3")
    assert run.told == [StageStarted("a/i", 0), StageCompleted("a/i", 33)]
    begins(tasks, "i:3", triggers=(PUSHED,))
    assert len(run.told) == 2, "another one, which has not started"


async def test_a_pushed_task_is_found_however_deep_it_is() -> None:
    run = Run("messages")
    tasks = _Tasks(run)
    begins(tasks, "i:3", triggers=(PUSHED,))
    located(tasks, "a:1|b:2|i:3", "i")
    assert run.told == [StageStarted("a/b/i", 0)]


@pytest.mark.parametrize("first", ["told of", "started"])
async def test_a_pushed_task_says_itself_whether_it_is_a_stage(first: str) -> None:
    run = Run("messages")
    tasks = _Tasks(run)
    if first == "started":
        located(tasks, "a:1|z:3", "z")
    begins(tasks, "z:3", triggers=(PUSHED,), stage=False)
    located(tasks, "a:1|z:3", "z")
    ends(tasks, "z:3")
    assert run.told == []


async def test_a_pushed_task_whose_result_was_in_a_cache_is_no_stage() -> None:
    run = Run("messages")
    tasks = _Tasks(run)
    begins(tasks, "i:3", triggers=(PUSHED,))
    ends(tasks, "i:3")
    assert run.told == []
    located(tasks, "a:1|i:3", "i")
    ends(tasks, "i:3")
    begins(tasks, "i:3", triggers=(PUSHED,))
    assert run.told == []


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "step"},
        {"name": None},
        {"metadata": {"langgraph_path": ("__pregel_pull", "i")}},
        {"metadata": {"langgraph_path": ("",)}},
    ],
)
async def test_only_a_pushed_tasks_own_start_says_where_it_is(fields: Any) -> None:
    run = Run("messages")
    tasks = _Tasks(run)
    begins(tasks, "i:3", triggers=(PUSHED,))
    located(tasks, "a:1|i:3", "i", **fields)
    tasks.on_chain_start({}, {}, run_id=uuid4(), metadata=None, name="i")
    tasks.on_chain_start({}, {}, run_id=uuid4(), metadata={"langgraph_node": "i"}, name="i")
    assert run.told == []


async def test_only_chunks_of_a_speaking_call_are_told() -> None:
    run = Run("messages")
    spoken = {SPOKEN: "a:1|x:7"}
    blocks = [{"type": "text", "text": "y"}, {"type": "image"}]
    for message, metadata in (
        (AIMessageChunk(content="x"), spoken),
        (AIMessageChunk(content=blocks), spoken),
        (AIMessageChunk(content=""), spoken),
        (AIMessage("a node's state"), spoken),
        (AIMessageChunk(content="silent"), {}),
    ):
        _speak(run, message, metadata)
    assert run.told == [Token("x", "a/x"), Token("y", "a/x")]
