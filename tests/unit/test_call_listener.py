"""What LangChain tells of model calls: which of them speak, what they cost, how they end."""

from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    BaseMessageChunk,
    HumanMessage,
    HumanMessageChunk,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, LLMResult
from langgraph.errors import ParentCommand
from langgraph.types import Command

from sluice.application.heard_calls import CountedCall, HeardCall
from sluice.application.model_calls import CallTeller
from sluice.domain.errors import UpstreamTruncated
from sluice.domain.events import Reasoning, StageCompleted, StageStarted, Token, Usage
from sluice.infrastructure.pipeline.agent_listener import AgentListener
from sluice.infrastructure.pipeline.calls import SPOKEN, CallListener
from sluice.infrastructure.pipeline.running_node import RunningNode
from sluice.infrastructure.pipeline.stage_path import _Counter
from sluice.infrastructure.pipeline.tap import Tap
from sluice.infrastructure.pipeline.token_path import _Tasks
from sluice.infrastructure.pipeline.visibility import SILENT, Declared
from tests.unit.graph_runs import INSIDE, A, Run

SPEAKS = Declared(speaks=True)
Kind = type[CallListener]
COUNTED = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 4}


def started(listener: CallListener, namespace: str = A, **fields: Any) -> tuple[UUID, Any]:
    """A model call begins there; its id and its metadata."""
    run_id, metadata = uuid4(), {"langgraph_checkpoint_ns": namespace}
    listener.on_chat_model_start({}, [], run_id=run_id, metadata=metadata, **fields)
    return run_id, metadata


def said(listener: CallListener, run_id: UUID, message: BaseMessageChunk) -> None:
    chunk = ChatGenerationChunk(message=message)
    listener.on_llm_new_token("", chunk=chunk, run_id=run_id)


def ended(listener: CallListener, run_id: UUID, message: BaseMessage) -> None:
    generations = [[ChatGeneration(message=message)]]
    listener.on_llm_end(LLMResult(generations=generations), run_id=run_id)


def run_with(declared: Declared = SPEAKS, *namespaces: str, **options: Any) -> Run:
    run = Run(**options)
    for namespace in namespaces or (A,):
        run.node_started(RunningNode(run, namespace, declared=declared))
    return run


async def test_a_call_of_a_speaking_node_is_marked_with_where_it_speaks() -> None:
    listener = CallListener(run_with())
    for namespace in (A, INSIDE, "a:1|x:7"):
        assert started(listener, namespace)[1][SPOKEN] == namespace


@pytest.mark.parametrize(
    ("declared", "namespace", "fields"),
    [
        (SILENT, A, {}),
        (SPEAKS, "b:2", {}),
        (SPEAKS, "", {}),
        (SPEAKS, A, {"tags": ["nostream"]}),
        (SPEAKS, A, {"options": {"ls_structured_output_format": {}, "x": 1}, "tags": ["nostream"]}),
        (SPEAKS, A, {"options": {"ls_structured_output_format": {"kwargs": {}}}}),
        (SPEAKS, A, {"invocation_params": {"response_format": {"type": "json_object"}}}),
    ],
)
async def test_any_other_call_is_silent(
    declared: Declared, namespace: str, fields: Mapping[str, Any]
) -> None:
    run = run_with(declared)
    tap = Tap(run)
    run_id, metadata = started(tap, namespace, **fields)
    said(tap, run_id, AIMessageChunk(content="x"))
    ended(tap, run_id, AIMessage("x", response_metadata={"finish_reason": "length"}))
    assert SPOKEN not in metadata
    assert run.told == []
    assert run.calls.finish_reason == "stop", "which was there before"


async def test_a_call_outside_of_all_graphs_is_nobodys() -> None:
    listener = CallListener(run_with())
    listener.on_chat_model_start({}, [], run_id=uuid4(), metadata=None)


async def test_the_tap_tells_what_a_speaking_call_says_and_nothing_else_of_it() -> None:
    run = run_with()
    tap = Tap(run)
    run_id, _ = started(tap, "a:1|x:7")
    for message in (
        AIMessageChunk(content="x"),
        AIMessageChunk(content=""),
        AIMessageChunk(
            content=[{"type": "text", "text": "y"}, {"type": "thinking", "thinking": "hm"}]
        ),
        HumanMessageChunk(content="no"),
    ):
        said(tap, run_id, message)
    tap.on_llm_new_token("no", run_id=run_id)
    tap.on_llm_new_token("no", chunk=Generation(text="no"), run_id=run_id)
    said(tap, uuid4(), AIMessageChunk(content="no"))
    assert run.told == [Token("x", "a/x"), Token("y", "a/x")]
    ended(tap, run_id, AIMessage("xy"))
    said(tap, run_id, AIMessageChunk(content="no"))
    assert len(run.told) == 2


async def test_other_readers_only_note_what_a_call_says() -> None:
    run = run_with()
    listener = CallListener(run)
    run_id, _ = started(listener)
    said(listener, run_id, AIMessageChunk(content="x"))
    assert run.told == []
    node = run.node_at(A)
    assert isinstance(node, RunningNode)
    node.write({"token": "xy"})
    assert run.told == [Token("y", "a")]


@pytest.mark.parametrize("reason", ["length", None, 3])
async def test_the_end_of_a_speaking_call_is_the_answers(reason: Any) -> None:
    run = run_with()
    listener = CallListener(run)
    run_id, _ = started(listener)
    metadata = {"finish_reason": reason}
    message = AIMessage("x", response_metadata=metadata, usage_metadata=COUNTED)
    ended(listener, run_id, message)
    assert run.calls.finish_reason == ("length" if reason == "length" else None)
    assert run.calls.usage == Usage(2, 4, 7)


@pytest.mark.parametrize("joined", ["nullnullstop", None])
async def test_the_finish_reason_is_what_its_client_has_heard(joined: str | None) -> None:
    """LangChain joins several, and hears of none in a chunk without a delta."""
    run = run_with()
    listener = CallListener(run)
    for heard, reason in (("length", "length"), (None, joined)):
        run_id, _ = started(listener)
        listener.end_of(run_id)(heard)
        ended(listener, run_id, AIMessage("x", response_metadata={"finish_reason": joined}))
        assert run.calls.finish_reason == reason
    assert listener._reasons == {}, "nothing is kept of it"


@pytest.mark.parametrize("kind", [CallListener, Tap, _Counter])
async def test_a_call_is_judged_by_the_reason_that_its_client_has_heard(kind: Kind) -> None:
    run = run_with()
    listener = kind(run)
    for _ in range(3):
        streamed(listener, "x", "stop")
    run_id, metadata = uuid4(), {"langgraph_checkpoint_ns": A, "ls_provider": "p"}
    listener.on_chat_model_start({}, [], run_id=run_id, metadata=metadata)
    said(listener, run_id, AIMessageChunk(content="whole"))
    teller = listener.take(run_id, [listener])
    end = listener.end_of(run_id) if teller is None else partial(teller.ended, None)
    end("stop")
    ended(listener, run_id, AIMessage("whole"))
    assert run.done({"answer": "whole"}).answer == "whole"


async def test_a_failed_call_has_no_finish_reason() -> None:
    listener = CallListener(run_with())
    run_id, _ = started(listener)
    listener.end_of(run_id)("stop")
    listener.on_llm_error(ValueError(), run_id=run_id)
    assert listener._reasons == {}


async def test_a_silent_call_is_counted_too() -> None:
    run = run_with(SILENT)
    listener = CallListener(run)
    run_id, _ = started(listener)
    ended(listener, run_id, AIMessage("x", usage_metadata=COUNTED))
    ended(listener, uuid4(), AIMessage("without usage"))
    assert (run.calls.usage, run.calls.finish_reason) == (Usage(2, 4, 7), "stop")


@pytest.mark.parametrize(
    "generations", [[], [[Generation(text="x")]], [[ChatGeneration(message=HumanMessage("x"))]]]
)
async def test_an_end_without_a_message_of_a_model_counts_nothing(generations: Any) -> None:
    run = run_with()
    listener = CallListener(run)
    run_id, _ = started(listener)
    listener.on_llm_end(LLMResult(generations=generations), run_id=run_id)
    assert (run.calls.usage, run.calls.finish_reason) == (Usage(1, 2, 3), "stop")


async def test_a_failed_call_says_no_more_and_ends_no_answer() -> None:
    run = run_with()
    tap = Tap(run)
    run_id, _ = started(tap)
    said(tap, run_id, AIMessageChunk(content="x"))
    tap.on_llm_error(ValueError(), run_id=run_id)
    assert (tap._models, tap._streamed) == ({}, {}), "nothing is kept of it"
    run.told.clear()
    tap.on_llm_error(ValueError(), run_id=uuid4())
    said(tap, run_id, AIMessageChunk(content="no"))
    ended(tap, run_id, AIMessage("no"))
    assert (run.told, run.calls.finish_reason) == ([], "stop")


async def test_the_run_knows_its_listener() -> None:
    run = run_with()
    listener = CallListener(run)
    assert run.listener is listener
    assert listener.take(uuid4(), [listener]) is None


async def test_the_tap_takes_a_call_that_nobody_else_hears() -> None:
    run = run_with()
    tap = Tap(run)
    run_id, _ = started(tap)
    assert tap.take(run_id, []) is None
    assert tap.take(run_id, [object()]) is None
    assert tap.take(run_id, [tap, object()]) is None
    teller: CallTeller | None = tap.take(run_id, [tap])
    assert isinstance(teller, HeardCall)
    teller.say("x")
    said(tap, run_id, AIMessageChunk(content="x"))
    teller.ended(Usage(9, 9, 9), "length")
    assert run.told == [Token("x", "a")]
    assert run.calls.usage == Usage(1, 2, 3), "LangChain still reports its end"
    ended(tap, run_id, AIMessage("x", response_metadata={"finish_reason": "length"}))
    assert run.calls.finish_reason == "length"
    silent = tap.take(uuid4(), [tap])
    assert type(silent) is CountedCall
    silent.ended(Usage(9, 9, 9), "length")
    assert run.calls.usage == Usage(1, 2, 3)


@pytest.fixture(params=[CallListener, Tap, _Tasks])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Of each path: a node that is named in a graph of a silent node is heard by all."""
    chosen: Kind = request.param
    return chosen


async def test_a_call_that_the_tap_takes_tells_its_thoughts_to_whoever_hears_them() -> None:
    run = run_with(Declared(reasoning=True))
    tap, run.thoughts = Tap(run), AgentListener(run)
    run_id, metadata = started(tap)
    run.thoughts.on_chat_model_start({}, [], run_id=run_id, metadata=metadata)
    teller = tap.take(run_id, [tap, run.thoughts])
    assert teller is not None
    teller.say("silent")
    teller.reason("hm")
    assert run.told == [Reasoning("hm", "a")]
    assert type(tap.take(uuid4(), [tap, run.thoughts])) is CountedCall


def streamed(
    listener: CallListener, text: str, reason: str | None = None, *, whole: bool = False, **of: Any
) -> None:
    """A call of a model says a text, in pieces unless it comes whole, and ends for that reason."""
    run_id, metadata = uuid4(), {"langgraph_checkpoint_ns": A, "ls_provider": "p", **of}
    listener.on_chat_model_start({}, [], run_id=run_id, metadata=metadata)
    if not whole:
        said(listener, run_id, AIMessageChunk(content=text))
    told = {} if reason is None else {"finish_reason": reason}
    ended(listener, run_id, AIMessage(text, response_metadata=told))
    assert (listener._models, listener._streamed) == ({}, {}), "nothing is kept of it"


async def test_an_answer_without_the_reason_that_its_model_always_gives_was_cut() -> None:
    run = run_with()
    listener = CallListener(run)
    for _ in range(3):
        streamed(listener, "x", "stop")
    streamed(listener, "ha")
    assert run.done({"answer": "other"}).answer == "other"
    with pytest.raises(UpstreamTruncated):
        run.done({"answer": "half: ha"})


@pytest.mark.parametrize("options", [{"whole": True}, {"ls_provider": "q"}, {"ls_model_name": "n"}])
async def test_an_answer_in_one_piece_or_of_another_model_was_not(options: Any) -> None:
    run = run_with()
    listener = CallListener(run)
    for _ in range(3):
        streamed(listener, "x", "stop")
    streamed(listener, "ha", **options)
    assert run.done({"answer": "ha"}).answer == "ha"


async def test_answers_in_one_piece_prove_nothing_of_a_model() -> None:
    run = run_with()
    listener = CallListener(run)
    for _ in range(3):
        streamed(listener, "x", "stop", whole=True)
    streamed(listener, "ha")
    assert run.done({"answer": "ha"}).answer == "ha"


NAMED = {"langgraph_node": "x", "langgraph_checkpoint_ns": "a:1|x:7"}


def named_run(**options: Any) -> Run:
    return run_with(SILENT, named={"speaks": frozenset({"a/x"})}, **options)


def ran(
    listener: CallListener,
    output: object,
    *,
    metadata: Mapping[str, Any] | None = NAMED,
    name: str | None = "x",
    failed: bool = False,
) -> None:
    """A chain of that name begins and ends."""
    run_id = uuid4()
    given = None if metadata is None else dict(metadata)
    listener.on_chain_start({}, {"messages": []}, run_id=run_id, metadata=given, name=name)
    if failed:
        listener.on_chain_error(ValueError(), run_id=run_id)
    listener.on_chain_end(output, run_id=run_id)


SAID = {"messages": AIMessage("x", id="1")}


async def test_a_named_node_in_a_graph_of_a_silent_node_says_its_messages(
    kind: Kind,
) -> None:
    run = named_run()
    ran(kind(run), SAID)
    assert run.answer.of({"messages": [AIMessage("silent", id="2")]}) == "x"


async def test_such_nodes_may_run_side_by_side(kind: Kind) -> None:
    run = run_with(SILENT, named={"speaks": frozenset({"a/x", "a/y"})})
    listener, runs = kind(run), {name: uuid4() for name in "xy"}
    for name, run_id in runs.items():
        metadata = {"langgraph_node": name, "langgraph_checkpoint_ns": f"a:1|{name}:7"}
        listener.on_chain_start({}, {}, run_id=run_id, metadata=metadata, name=name)
    for name, run_id in runs.items():
        listener.on_chain_end({"messages": AIMessage(name, id=name)}, run_id=run_id)
    assert run.answer.of({}) == "xy"


async def test_what_such_a_node_said_stays_though_the_outer_state_never_had_it(
    kind: Kind,
) -> None:
    run, later = named_run(), {"messages": [AIMessage("!", id="3")]}
    ran(kind(run), SAID)
    run.answer.add(later, None, inside=False)
    assert run.answer.of(later) == "x!"


async def test_what_such_a_node_was_given_it_has_not_said(kind: Kind) -> None:
    run = named_run()
    listener, run_id = kind(run), uuid4()
    listener.on_chain_start({}, SAID, run_id=run_id, metadata={**NAMED}, name="x")
    listener.on_chain_end(SAID, run_id=run_id)
    assert run.answer.of({"messages": [AIMessage("silent", id="2")]}) == "silent"


async def test_only_its_outermost_run_counts(kind: Kind) -> None:
    run = named_run()
    listener, outer, inner = kind(run), uuid4(), uuid4()
    for run_id in (outer, inner):
        listener.on_chain_start({}, {}, run_id=run_id, metadata={**NAMED}, name="x")
    listener.on_chain_end({"messages": AIMessage("step", id="3")}, run_id=inner)
    listener.on_chain_error(ValueError(), run_id=inner)
    listener.on_chain_end(SAID, run_id=outer)
    assert run.answer.of({}) == "x"


@pytest.mark.parametrize(
    "options",
    [
        {"metadata": None},
        {"name": None},
        {"name": "step"},
        {"metadata": {**NAMED, "langgraph_checkpoint_ns": "a:1|y:7"}},
        {"metadata": {**NAMED, "langgraph_checkpoint_ns": A}},
        {"failed": True},
    ],
)
async def test_nothing_else_is_its_word(kind: Kind, options: dict[str, Any]) -> None:
    run = named_run()
    ran(kind(run), SAID, **options)
    assert run.answer.of({"messages": [AIMessage("silent", id="2")]}) == "silent"


async def test_a_watched_or_a_speaking_node_tells_its_messages_itself(
    kind: Kind,
) -> None:
    silent = {"messages": [AIMessage("silent", id="2")]}
    for run in (
        run_with(SPEAKS, named={"speaks": frozenset({"a/x"})}),
        run_with(SILENT, A, "a:1|x:7", named={"speaks": frozenset({"a/x"})}),
    ):
        ran(kind(run), SAID)
        assert run.answer.of(silent) == "silent"


@pytest.mark.parametrize("error", [ParentCommand(Command(goto="b")), ValueError()])
async def test_a_node_of_an_inner_graph_that_hands_over_to_the_graph_above_is_done(
    error: Exception,
) -> None:
    run, run_id = run_with(SILENT), uuid4()
    listener = CallListener(run)
    run.stage_started(INSIDE, {})
    metadata = {"langgraph_node": "i", "langgraph_checkpoint_ns": INSIDE}
    listener.on_chain_start({}, {}, run_id=run_id, metadata=metadata, name="i")
    listener.on_chain_error(error, run_id=run_id)
    run.stages_left()
    done = [StageCompleted("a/i", 33)] if isinstance(error, ParentCommand) else []
    assert run.told == [StageStarted("a/i", 0), *done]


async def test_nothing_is_kept_of_a_node_of_an_inner_graph_that_is_over(kind: Kind) -> None:
    listener = kind(named_run())
    for failed in (False, True):
        ran(listener, SAID, failed=failed)
    assert (listener._inner, listener._named) == ({}, {})
