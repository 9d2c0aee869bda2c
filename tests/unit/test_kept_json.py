"""Pauses, plans and verdicts as the stores keep them: what is read is what was written."""

import json

import pytest

from sluice.application.pause_json import canonical, dump_pause, load_pause, same
from sluice.application.plan_json import dump_plan, dump_verdict, load_plan, load_verdict
from sluice.domain.graph_state import Head, InputRequest, Pause
from sluice.domain.guard.plan import Plan

PAUSE = Pause(
    Head("thread", "1"),
    (
        InputRequest("send", {"why": "무색"}, "approval", {"type": "boolean"}),
        InputRequest("name", "Who?", "text"),
    ),
    {"ask:1": "Let me see. "},
    True,
)
PLAN = Plan.parse({"steps": [{"share": 5}, {"share": 50}], "limits": {"late_seconds": 3}})


def test_a_pause_is_the_same_again() -> None:
    assert load_pause(dump_pause(PAUSE)) == PAUSE
    assert load_pause(dump_pause(PAUSE).encode()) == PAUSE


def test_a_pause_of_a_version_without_a_fallback_has_not_fallen_back() -> None:
    told = json.loads(dump_pause(PAUSE))
    assert told.pop("fell_back") is True
    assert load_pause(json.dumps(told)).fell_back is False


def test_an_answer_is_the_same_as_json_has_it() -> None:
    assert same({"a": 1, "b": [None]}, {"b": [None], "a": 1})
    assert not same(1, True)
    assert not same({"a": 1}, {"a": 2})
    assert canonical({"b": 1, "a": "무"}) == '{"a": "\\ubb34", "b": 1}'


def test_a_plan_is_the_same_again_and_none_is_none() -> None:
    kept = dump_plan(PLAN)
    assert kept is not None
    assert load_plan(kept) == PLAN
    assert (dump_plan(None), load_plan(None)) == (None, None)


@pytest.mark.parametrize("verdict", [{"action": "hold", "무": [1, None]}, {}])
def test_a_verdict_is_the_same_again_and_none_is_none(verdict: dict[str, object]) -> None:
    kept = dump_verdict(verdict)
    assert kept is not None
    assert load_verdict(kept) == verdict
    assert (dump_verdict(None), load_verdict(None)) == (None, None)
