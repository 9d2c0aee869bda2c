"""What a node run is asked by what runs in it: who is heard, and how it is told."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_core.callbacks import BaseCallbackHandler, CallbackManager
from langchain_core.runnables.config import var_child_runnable_config

from sluice.application.heard_calls import CountedCall, End, HeardCall, silent
from sluice.application.model_calls import CallTeller, Emit, NodeRun, current_node
from sluice.domain.errors import PipelineError
from sluice.domain.events import Data, Event, Reasoning, Token, Usage
from sluice.infrastructure.pipeline.listeners import Reader
from sluice.infrastructure.pipeline.running_node import (
    RunningNode,
    WrittenEvent,
    WrittenToken,
    located,
    write_where_it_runs,
)
from sluice.infrastructure.pipeline.visibility import SILENT, Declared
from tests.unit.graph_runs import INSIDE, A, Run

SPEAKS, SHOWS = Declared(speaks=True), Declared(reasoning=True, data=True)
BELOW, OUTSIDE = "a:1|x:7", "b:2"


@contextmanager
def standing_at(namespace: str | None, **config: Any) -> Iterator[None]:
    """The code stands where a config with that namespace is the context's."""
    metadata = {} if namespace is None else {"langgraph_checkpoint_ns": namespace}
    given: Any = {"metadata": metadata, **config}
    before = var_child_runnable_config.set(given)
    try:
        yield
    finally:
        var_child_runnable_config.reset(before)


def node_in(run: Run, declared: Declared = SPEAKS, **options: Any) -> RunningNode:
    return RunningNode(run, A, declared=declared, **options)


@pytest.mark.parametrize(
    ("namespace", "here"), [(A, A), (BELOW, BELOW), (OUTSIDE, A), ("", A), (None, A)]
)
async def test_code_stands_in_the_node_or_in_a_graph_that_it_runs(
    namespace: str | None, here: str
) -> None:
    node = node_in(Run())
    assert (node.path, node.namespace, node.here()) == ("a", A, A)
    with standing_at(namespace):
        assert node.here() == here


async def test_a_node_speaks_unless_it_is_silent_or_silenced() -> None:
    run = Run()
    assert node_in(run).speaks
    assert not node_in(run, SILENT).speaks
    assert not RunningNode(run).speaks
    with silent():
        assert not node_in(run).speaks


async def test_a_setting_may_name_what_a_silent_node_runs() -> None:
    run = Run(named={"speaks": frozenset({"a/x"})})
    node = node_in(run, SILENT)
    assert not node.speaks
    with standing_at(BELOW):
        assert node.speaks
        node.say("x")
    assert node.heard_at(BELOW)
    assert not node.heard_at(BELOW, "tools")
    assert run.told == [Token("x", "a/x")]


async def test_what_a_node_writes_is_a_token_or_data() -> None:
    run = Run()
    node = node_in(run, Declared(speaks=True, data=True))
    for chunk in (
        {"token": "x"},
        {"token": ""},
        {"token": 3},
        {"other": "x"},
        "x",
        None,
        {"data": 1},
        {"name": "n", "data": [2], "token": "y"},
        {"name": "", "data": None},
    ):
        node.write(chunk)
    assert run.told == [
        Token("x", "a"),
        Data("data", 1, "a"),
        Token("y", "a"),
        Data("n", [2], "a"),
        Data("data", None, "a"),
    ]


async def test_what_a_silent_node_writes_is_not_told() -> None:
    run = Run()
    node_in(run, SILENT).write({"token": "x", "data": 1})
    node_in(run, SILENT).reasoning("hm")
    assert run.told == []


@pytest.mark.parametrize("reader", ["tap", "messages", "events"])
async def test_tokens_go_to_who_reads(reader: Reader) -> None:
    run, streamed = Run(reader), list[Any]()
    node = node_in(run, stream=streamed.append)
    with standing_at(BELOW):
        node.say("x")
        node.teller(BELOW)("y")
    tokens = [Token("x", "a/x"), Token("y", "a/x")]
    written = [((), "messages", WrittenToken(BELOW, text)) for text in "xy"]
    assert (run.told, streamed) == ((tokens, []) if reader == "tap" else ([], written))


async def test_where_nobody_reads_a_stream_nothing_is_written() -> None:
    run = Run("messages")
    node_in(run).say("x")
    assert run.told == []


async def test_what_is_shown_goes_to_who_reads() -> None:
    event, streamed = Data("n", 1, "a"), list[Any]()
    run = Run("messages")
    node_in(run, stream=streamed.append).show(BELOW, event)
    node_in(run, stream=streamed.append).show(BELOW, event, A)
    assert streamed == [
        ((), "messages", WrittenEvent(BELOW, event, BELOW)),
        ((), "messages", WrittenEvent(BELOW, event, A)),
    ]
    assert run.told == []
    node_in(run).show(BELOW, event)
    run = Run("tap")
    node_in(run, stream=streamed.append).show(BELOW, event)
    assert run.told == [event]
    assert len(streamed) == 2


async def test_an_event_waits_behind_the_tokens_of_the_run_it_belongs_to() -> None:
    run, event = Run(), Data("n", 1, "b")
    run.token(A, "a", "1")
    run.token(OUTSIDE, "b", "2")
    node_in(run).show(A, event, OUTSIDE)
    node_in(run).show(OUTSIDE, event)
    assert run.told == [Token("1", "a")]
    node_in(run).show(A, event)
    assert run.told == [Token("1", "a"), event]


async def test_what_is_said_and_thought_has_its_place_in_the_order() -> None:
    run = heard_by_ours()
    node = node_in(run, Declared(speaks=True, reasoning=True))
    run.token(OUTSIDE, "b", "1")
    node.say("2")
    node.reasoning("hm")
    assert run.told == [Token("1", "b")]
    with standing_at(A, **managed()):
        emit = node.emitter()
    assert emit is not None
    emit("3")
    assert run.told == [Token("1", "b")]
    run.done({"answer": "123"})
    assert run.told[1:] == [Token("2", "a"), Reasoning("hm", "a"), Token("3", "a")]


async def test_a1_shows_what_is_written_before_its_stage_behind_its_start() -> None:
    run = Run("events")
    node_in(run, SHOWS).write({"data": 1})
    assert run.told == []
    run.stage_started(A, {})
    assert run.told[1:] == [Data("data", 1, "a")]


@pytest.mark.parametrize("reader", ["tap", "messages"])
async def test_what_was_heard_of_a_call_is_not_told_again_when_it_is_written(
    reader: Reader,
) -> None:
    run, streamed = Run(reader), list[Any]()
    node = node_in(run, stream=streamed.append)
    node.teller(A)("ab")
    node.note()("cd")
    for text in ("a", "b", "c", "de"):
        node.write({"token": text})
    written = [((), "messages", WrittenToken(A, text)) for text in ("ab", "e")]
    tokens = [Token("ab", "a"), Token("e", "a")]
    assert (run.told, streamed) == ((tokens, []) if reader == "tap" else ([], written))


@pytest.mark.parametrize("reader", ["tap", "messages"])
async def test_what_a_call_hands_on_is_told_once_and_not_again_when_it_is_written(
    reader: Reader,
) -> None:
    run, streamed = Run(reader), list[Any]()
    node = node_in(run, stream=streamed.append)
    node.teller(BELOW)("ab")
    retell = node.reteller(BELOW)
    for text in ("a", "bc", "d"):
        retell(text)
    node.write({"token": "abcd"})
    written = [((), "messages", WrittenToken(BELOW, text)) for text in ("ab", "c", "d")]
    tokens = [Token(text, "a/x") for text in ("ab", "c", "d")]
    assert (run.told, streamed) == ((tokens, []) if reader == "tap" else ([], written))


async def test_whatever_is_written_is_a_sign_of_life_where_one_is_asked_for() -> None:
    signs = list[int]()
    node = node_in(Run(), progress=lambda: signs.append(1))
    for chunk in (None, "x", {"token": "x"}):
        node.write(chunk)
    assert len(signs) == 3
    with within(node):
        write_where_it_runs(None)
        assert len(signs) == 3, "which is one already"
        write_where_it_runs("x")
    assert len(signs) == 4


async def test_a_call_that_nobody_reports_is_heard_where_it_stands() -> None:
    run = Run()
    node = node_in(run)
    with standing_at(BELOW):
        teller = node.hear()
    assert isinstance(teller, HeardCall)
    teller.say("x")
    teller.ended(Usage(1, 1, 2), "length")
    assert run.told == [Token("x", "a/x")]
    assert (run.calls.usage, run.calls.finish_reason) == (Usage(2, 3, 5), "length")


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        (SPEAKS, [Token("x", "a/x")]),
        (SHOWS, [Reasoning("hm", "a/x")]),
        (Declared(speaks=True, reasoning=True), [Reasoning("hm", "a/x"), Token("x", "a/x")]),
    ],
)
async def test_of_a_call_that_nobody_reports_is_heard_what_its_node_declares(
    declared: Declared, told: list[Event]
) -> None:
    run = Run()
    with standing_at(BELOW):
        teller = node_in(run, declared).hear()
    assert isinstance(teller, HeardCall)
    teller.reason("hm")
    teller.say("x")
    teller.ended(Usage(1, 1, 2), "length")
    assert run.told == told
    assert run.calls.usage == Usage(2, 3, 5)
    assert run.calls.finish_reason == ("length" if declared.speaks else "stop")


async def test_a_call_is_heard_by_nobody_where_no_tokens_are_wanted() -> None:
    assert node_in(Run("events")).hear() is None
    assert node_in(Run(), SILENT).hear() is None
    with silent():
        assert node_in(Run()).hear() is None


@pytest.mark.parametrize("data", [object(), float("nan"), "x" * 70_000])
async def test_data_that_cannot_be_told_ends_the_run(data: object) -> None:
    run = Run()
    with pytest.raises(PipelineError):
        node_in(run, SHOWS).write({"data": data})
    with pytest.raises(PipelineError):
        run.done({"answer": "x"})
    node_in(run, SPEAKS).write({"data": data})  # heard by nobody, it is nobody's fault


async def test_data_is_shown_where_it_was_written() -> None:
    run = Run()
    with standing_at(BELOW):
        node_in(run, SHOWS).write({"data": 1})
    node_in(run, SHOWS).give("n", 2, OUTSIDE)
    assert run.told == [Data("data", 1, "a/x"), Data("n", 2, "b")]


async def test_reasoning_is_shown_where_it_was_thought() -> None:
    run = Run()
    node = node_in(run, SHOWS)
    with standing_at(BELOW):
        node.reasoning("hm")
    node.reasoning("")
    assert run.told == [Reasoning("hm", "a/x")]
    run = Run("events")
    run.stage_started(A, {})
    node_in(run, SHOWS).reasoning("hm")
    assert len(run.told) == 1


class Listener(BaseCallbackHandler):
    def __init__(self) -> None:
        self.asked: list[object] = []

    def take(self, run_id: UUID, handlers: Sequence[object]) -> CallTeller | None:
        self.asked.append((run_id, handlers))
        return HeardCall(None, self.asked.append)

    def noted(self) -> dict[str, Any]:
        return {}

    def thinker(self, run_id: UUID) -> Emit | None:
        self.asked.append(run_id)
        return self.asked.append

    def end_of(self, run_id: UUID) -> End:
        return lambda finish_reason: self.asked.append((run_id, finish_reason))


async def test_the_runs_listener_is_asked_for_langchains_calls() -> None:
    run, run_id = Run(), uuid4()
    node = node_in(run)
    assert node.reported(run_id, [object()]) is None
    assert node.take(run_id, [1]) is None
    run.listener = listener = Listener()
    assert node.reported(run_id, []) is None
    assert isinstance(node.take(run_id, [1]), HeardCall)
    assert listener.asked == [(run_id, [1])]


async def test_what_langchain_leaves_out_goes_to_whoever_tells_thoughts() -> None:
    run, run_id = Run(), uuid4()
    run.listener = listener = Listener()
    reported = node_in(run).reported(run_id, [object(), listener])
    assert type(reported) is CountedCall, "so that its reader may join what nobody hears"
    reported.say("x")
    reported.reason("x")
    reported.ended(None, "length")
    assert listener.asked == [(run_id, "length")]
    listener.asked.clear()
    run.thoughts = listener
    reported = node_in(run).reported(run_id, [listener])
    assert reported is not None
    reported.say("x")
    reported.reason("hm")
    reported.ended(Usage(1, 1, 2), "length")
    assert listener.asked == [run_id, "hm", (run_id, "length")]
    assert run.calls.finish_reason == "stop", "LangChain tells of it"


OURS, THEIRS = Listener(), BaseCallbackHandler()


def managed(*handlers: BaseCallbackHandler, tags: Sequence[str] = ()) -> Mapping[str, Any]:
    return {"callbacks": CallbackManager(list(handlers) or [OURS], tags=[*tags])}


def heard_by_ours(reader: Reader = "tap") -> Run:
    run = Run(reader)
    run.listener = OURS
    return run


async def test_past_langchain_a_text_goes_straight_to_the_run() -> None:
    run = heard_by_ours()
    with standing_at(A, **managed()):
        emit = node_in(run).emitter()
    assert emit is not None
    emit("x")
    assert run.told == [Token("x", "a")]
    run.thoughts = beside = Listener()
    with standing_at(A, **managed(OURS, beside)):
        assert node_in(run).emitter() is not None
    with standing_at(A, **managed()):
        assert node_in(run).emitter() is None


@pytest.mark.parametrize(
    ("declared", "reader", "namespace", "config"),
    [
        (SILENT, "tap", A, managed()),
        (SPEAKS, "messages", A, managed()),
        (SPEAKS, "events", A, managed()),
        (SPEAKS, "tap", BELOW, managed()),
        (SPEAKS, "tap", None, managed()),
        (SPEAKS, "tap", A, {}),
        (SPEAKS, "tap", A, {"callbacks": [BaseCallbackHandler()]}),
        (SPEAKS, "tap", A, managed(OURS, THEIRS)),
        (SPEAKS, "tap", A, managed(THEIRS)),
        (SPEAKS, "tap", A, managed(tags=["nostream"])),
    ],
)
async def test_where_others_hear_a_call_it_is_made_so_that_they_can(
    declared: Declared, reader: Reader, namespace: str | None, config: Mapping[str, Any]
) -> None:
    node = node_in(heard_by_ours(reader), declared)
    with standing_at(namespace, **config):
        assert node.emitter() is None
    assert node.emitter() is None
    with standing_at(A, **managed()), silent():
        assert node.emitter() is None


@contextmanager
def within(node: NodeRun) -> Iterator[None]:
    before = current_node.set(node)
    try:
        yield
    finally:
        current_node.reset(before)


async def test_what_starts_is_the_work_of_the_node_around_it() -> None:
    run = Run()
    node = node_in(run)
    metadata = {"langgraph_checkpoint_ns": BELOW}
    assert located(run, metadata) == (BELOW, None)
    run.node_started(node)
    assert located(run, metadata) == (BELOW, node)
    inner = RunningNode(run, INSIDE)
    with within(inner):
        assert located(run, metadata) == (INSIDE, inner)
        assert located(run, {"langgraph_checkpoint_ns": f"{INSIDE}|y:8"}) == (
            f"{INSIDE}|y:8",
            inner,
        )
    for other in (RunningNode(run), NodeRun(run.calls, "a", speaks=True)):
        with within(other):
            assert located(run, metadata) == (BELOW, None)


async def test_a_writer_without_a_node_of_its_own_asks_the_context() -> None:
    run = Run()
    write_where_it_runs({"token": "x"})
    with within(NodeRun(run.calls, "a", speaks=True)):
        write_where_it_runs({"token": "x"})
    assert run.told == []
    with within(node_in(run)):
        write_where_it_runs({"token": "x"})
    assert run.told == [Token("x", "a")]
