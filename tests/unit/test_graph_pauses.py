"""What a graph that stopped asks, and how an answer takes it on."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from langgraph.checkpoint.base import CheckpointTuple, empty_checkpoint
from langgraph.checkpoint.serde.types import INTERRUPT
from langgraph.types import Interrupt, PregelTask, StateSnapshot

from sluice.domain.errors import AskerGone, Declined
from sluice.domain.events import InputKind, Json
from sluice.domain.graph_state import Head, InputRequest, Pause, Resumption
from sluice.infrastructure.pipeline.pauses import (
    asked_again,
    at,
    command,
    pause_of,
    pending,
    require_asking,
)

HEAD = Head("thread", "checkpoint")
DECISION: dict[str, Any] = {
    "type": "object",
    "properties": {"type": {"enum": ["approve", "reject"]}},
    "required": ["type"],
}


def task(*asked: Interrupt, result: Any = None) -> PregelTask:
    return PregelTask("t", "a", (), interrupts=asked, result=result)


def snapshot(*tasks: PregelTask, following: tuple[str, ...] = ("a",)) -> StateSnapshot:
    return StateSnapshot({}, following, {"configurable": {}}, None, None, None, tasks, ())


def asking(*asked: Interrupt) -> StateSnapshot:
    return snapshot(task(*asked))


def paused(
    state: StateSnapshot, note: Mapping[str, Json] | None = None, before: Pause | None = None
) -> Pause:
    pause = pause_of(state, HEAD, note or {}, before)
    assert pause is not None
    return pause


ONE, TWO = Interrupt("go?", "one"), Interrupt("well?", "two")
PAUSE = Pause(HEAD, (InputRequest("one", "go?", "text", {"type": "string"}),), {"asked": 2})


def test_a_run_that_goes_nowhere_has_ended() -> None:
    assert pause_of(snapshot(following=()), HEAD, {}, None) is None


def test_only_questions_without_an_answer_are_asked() -> None:
    state = snapshot(task(ONE, TWO), task(Interrupt("x", "three"), result={"a": 1}), task())
    assert [each.id for each in pending(state)] == ["one", "two"]
    assert paused(state).requests == (
        InputRequest("one", "go?", "text"),
        InputRequest("two", "well?", "text"),
    )


def checkpoint(*writes: tuple[str, str, Any]) -> CheckpointTuple:
    return CheckpointTuple({}, empty_checkpoint(), {}, pending_writes=list(writes))


@pytest.mark.parametrize(
    ("writes", "state"),
    [
        ((("t", INTERRUPT, [ONE]),), asking(ONE)),
        ((("t", INTERRUPT, [ONE]), ("gone", "answer", "so")), asking(ONE)),
        ((), snapshot(task())),
        ((("t", INTERRUPT, [ONE]),), snapshot(task(), PregelTask("more", "b", ()))),
    ],
)
def test_a_graph_whose_askers_are_there_goes_on(
    writes: tuple[tuple[str, str, Any], ...], state: StateSnapshot
) -> None:
    require_asking(checkpoint(*writes), state)
    if not writes:
        require_asking(checkpoint()._replace(pending_writes=None), state)


@pytest.mark.parametrize(
    ("writes", "state"),
    [
        ((("t", INTERRUPT, [ONE]),), snapshot(task(), following=())),
        ((("t", INTERRUPT, [ONE]), ("gone", INTERRUPT, [TWO])), asking(ONE)),
        ((), snapshot(task(), following=())),
    ],
)
def test_a_graph_without_a_node_that_has_asked_does_not_go_on(
    writes: tuple[tuple[str, str, Any], ...], state: StateSnapshot
) -> None:
    with pytest.raises(AskerGone):
        require_asking(checkpoint(*writes), state)


def test_a_pause_knows_its_note_and_how_often_it_has_asked() -> None:
    first = paused(asking(ONE), {"pieces": []})
    assert (first.head, first.said) == (HEAD, {"pieces": [], "asked": 1})
    assert paused(asking(ONE), {}, first).said == {"asked": 2}
    assert paused(asking(ONE), {}, Pause(HEAD, (), {"asked": "x"})).said == {"asked": 1}
    assert paused(asking(ONE), {}, Pause(HEAD, ())).said == {"asked": 1}


def test_a_stop_at_which_the_graph_asks_nothing_is_an_approval() -> None:
    pause = paused(snapshot(task(), following=("a", "b")), {}, PAUSE)
    assert pause.requests == (
        InputRequest("checkpoint-3", "Go on with a, b?", "approval", DECISION),
    )


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("go?", "text"),
        ({"action_requests": [], "review_configs": []}, "approval"),
        ({"action_requests": [], "review_configs": [], "more": 1}, "approval"),
        ({"type": "tool_approval"}, "approval"),
        ({"action_requests": []}, "text"),
        ({"type": "other"}, "text"),
    ],
)
def test_what_is_asked_has_its_kind(value: Any, kind: InputKind) -> None:
    assert paused(asking(Interrupt(value, "one"))).requests == (InputRequest("one", value, kind),)


def test_what_has_a_schema_is_a_form() -> None:
    schema = {"type": "string"}
    newer: Any = SimpleNamespace(id="one", value="go?", response_schema=schema)
    pause = paused(asking(newer))
    assert pause.requests == (InputRequest("one", "go?", "form", {"type": "string"}),)


def test_a_question_of_an_older_langgraph_has_no_schema() -> None:
    older: Any = SimpleNamespace(id="one", value="go?")
    assert paused(asking(older)).requests == (InputRequest("one", "go?", "text"),)


def test_what_is_asked_is_told_as_json() -> None:
    class Own:
        def __str__(self) -> str:
            return "mine"

    pause = paused(asking(Interrupt({"a": (1, Own()), "b": b"x"}, "one")))
    assert pause.requests[0].prompt == {"a": [1, "mine"], "b": "x"}


def test_what_is_asked_again_has_another_id_each_time() -> None:
    again = asked_again(Resumption(PAUSE, {}), {"pieces": ["x"], "asked": 9})
    assert again.requests == (InputRequest("one.3", "go?", "text", {"type": "string"}),)
    assert (again.head, again.said) == (HEAD, {"pieces": ["x"], "asked": 3})
    assert asked_again(Resumption(again, {}), {}).requests[0].input_id == "one.4"


def resumed(answers: Mapping[str, Json], *asked: Interrupt) -> Any:
    return command(Resumption(PAUSE, answers), asking(*asked)).resume


def test_only_what_is_still_missing_is_answered() -> None:
    assert resumed({"one": 1, "two": 2}, ONE) == {"one": 1}
    assert resumed({"one.3": 1, "two": 2}, ONE, TWO) == {"one": 1, "two": 2}
    assert resumed({"one": 1}) == {}


@pytest.mark.parametrize("answer", [False, "reject", {"type": "reject"}])
def test_a_stop_may_be_declined_and_a_question_only_answered(answer: Json) -> None:
    with pytest.raises(Declined):
        resumed({"stop": answer})
    with pytest.raises(Declined):
        resumed({"stop": True, "other": answer})
    assert resumed({"one": answer}, ONE) == {"one": answer}


@pytest.mark.parametrize("answer", [True, None, 0, "approve", {"type": "approve"}, {"x": 1}])
def test_what_is_no_refusal_goes_on(answer: Json) -> None:
    assert resumed({"stop": answer}) == {}


def test_a_head_is_found_under_its_own_names() -> None:
    assert at(HEAD) == {
        "configurable": {
            "thread_id": "thread",
            "checkpoint_id": "checkpoint",
            "checkpoint_ns": "",
        }
    }
