"""Whose answers are judged by a finish reason, and which of them were cut."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage

from sluice.infrastructure.pipeline.finish_reasons import (
    FinishReasons,
    finish_reason_of,
    model_of,
)

ONE, OTHER = ("theirs", "one"), ("theirs", "other")
TOOL = {"name": "f", "args": {}, "id": "c"}


def message(content: Any = "a", *, tools: bool = False, **told: Any) -> AIMessage:
    return AIMessage(content, response_metadata=told, tool_calls=[TOOL] if tools else [])


ENDED, CUT = message(stop_reason="end_turn"), message()


def after(reasons: FinishReasons, *messages: AIMessage) -> list[bool]:
    return [reasons.is_cut(ONE, each, streamed=True) for each in messages]


def test_a_model_is_known_by_its_provider_and_its_name() -> None:
    assert model_of({"ls_provider": "p", "ls_model_name": "m"}) == ("p", "m")
    assert model_of({}) == ("", "")


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"finish_reason": "stop"}, "stop"),
        ({"finish_reason": "stopstopstop"}, "stop"),
        ({"finish_reason": "lengthstop"}, "stop"),
        ({"finish_reason": "nonstop"}, "nonstop"),
        ({"stop_reason": "end_turn"}, "end_turn"),
        ({"done_reason": "stop"}, "stop"),
        ({"finishReason": "STOP"}, "STOP"),
        ({"stopReason": "end"}, "end"),
        ({"finish_reason": "", "stop_reason": "end_turn"}, "end_turn"),
        ({"finish_reason": 3}, None),
        ({}, None),
        ({"status": "completed"}, "stop"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
    ],
)
def test_a_reason_is_told_in_its_providers_words(told: dict[str, Any], reason: str | None) -> None:
    assert finish_reason_of(message(**told)) == reason


def test_a_response_with_tool_calls_ended_for_them() -> None:
    assert finish_reason_of(message(tools=True, status="completed")) == "tool_calls"


def test_after_three_reasons_an_answer_without_one_was_cut() -> None:
    assert after(FinishReasons(), ENDED, ENDED, ENDED, CUT, CUT, ENDED) == [
        *[False] * 3,
        *[True] * 2,
        False,
    ]


@pytest.mark.parametrize("streamed", [True, False])
def test_a_reason_that_names_a_failure_is_one_of_whichever_model(*, streamed: bool) -> None:
    failed = message(finish_reason="error")
    assert FinishReasons().is_cut(ONE, failed, streamed=streamed)


def test_an_answer_in_one_piece_is_not_judged_by_a_reason_that_it_lacks() -> None:
    reasons = FinishReasons()
    after(reasons, ENDED, ENDED, ENDED)
    assert not reasons.is_cut(ONE, CUT, streamed=False)


def test_who_leaves_one_out_among_the_first_three_is_never_judged() -> None:
    assert not any(after(FinishReasons(), ENDED, ENDED, CUT, *[ENDED] * 4, CUT))
    assert not any(after(FinishReasons(), CUT, *[ENDED] * 4, CUT))


def test_each_model_is_judged_by_itself() -> None:
    reasons = FinishReasons()
    after(reasons, ENDED, ENDED, ENDED)
    assert not reasons.is_cut(OTHER, CUT, streamed=True)
    assert reasons.is_cut(ONE, CUT, streamed=True)


def test_calls_for_tools_and_answers_without_text_are_not_judged() -> None:
    reasons = FinishReasons()
    after(reasons, ENDED, ENDED, ENDED)
    assert after(reasons, message(tools=True), message(""), CUT) == [False, False, True]
    assert not any(after(FinishReasons(), *[message(tools=True, stop_reason="x")] * 3, CUT))
