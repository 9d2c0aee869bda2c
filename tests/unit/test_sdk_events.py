"""What the events of a user's own call say: their text, their calls, their end."""

import json
from typing import Any

import pytest

from sluice.application.model_calls import ToolCallPiece
from sluice.domain.errors import UpstreamError, UpstreamRateLimited, UpstreamUnavailable
from sluice.domain.events import Usage
from sluice.infrastructure.openai_sdk.ends import failure_of, responses_finish_reason, usage_of
from sluice.infrastructure.openai_sdk.events import (
    ChatEventReader,
    ParsedEvent,
    ResponsesEventReader,
)

NOTHING = ParsedEvent()
COUNTED = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 4}


def encoded(event: object) -> bytes:
    return event if isinstance(event, bytes) else json.dumps(event).encode()


def chunk(delta: Any = None, finish_reason: Any = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"delta": delta or {}, "finish_reason": finish_reason, **fields}]}


def heard(
    *events: object, as_langchain: bool = False
) -> tuple[ChatEventReader, list[ParsedEvent | None]]:
    reader = ChatEventReader(as_langchain=as_langchain)
    return reader, [reader.read(encoded(event)) for event in events]


def said(event: object, **options: bool) -> ParsedEvent:
    [parsed] = heard(event, **options)[1]
    assert parsed is not None
    return parsed


@pytest.mark.parametrize(
    "event",
    [
        chunk({"content": "a"}),
        chunk({"role": "assistant", "content": "a"}),
        chunk({"role": None, "content": "a"}, index=0),
    ],
)
def test_a_chunk_with_a_text_and_nothing_else_is_plain(event: object) -> None:
    assert said(event) == ParsedEvent("a", plain=True)


def test_a_chunk_that_says_nothing_is_plain_too() -> None:
    assert said(chunk({"role": "assistant"})) == ParsedEvent("", plain=True)


@pytest.mark.parametrize(
    "event",
    [
        chunk({"content": "a"}, "stop"),
        chunk({"content": "a"}, logprobs={"content": []}),
        chunk({"content": "a"}, error={"code": 1}),
        chunk({"content": "a", "role": "tool"}),
        chunk({"content": "a", "error": "x"}),
        {**chunk({"content": "a"}), "x_groq": {"error": "x"}},
        {**chunk({"content": "a"}), "usage": COUNTED},
        {**chunk({"content": "a"}), "error": {"code": 1}},
        {"choices": [{"delta": {"content": "a"}}, {"index": 1, "delta": {"content": "b"}}]},
    ],
)
def test_a_chunk_that_says_more_than_a_text_is_not_plain(event: object) -> None:
    assert said(event) == ParsedEvent("a")


@pytest.mark.parametrize(
    "name", ["reasoning_content", "reasoning", "thinking", "reasoning_details"]
)
def test_a_thought_is_told_apart(name: str) -> None:
    assert said(chunk({"content": "a", name: "hm"})) == ParsedEvent("a", "hm", plain=True)
    assert said(chunk({name: "hm"}, "stop")) == ParsedEvent("", "hm")
    assert said(chunk({name: [{"type": "reasoning.text", "text": "hm"}]})).reasoning == "hm"
    assert said(chunk({name: [{"type": "reasoning.encrypted", "data": "x"}]})).reasoning == ""


def test_a_thought_in_the_content_is_a_sign_of_life_and_its_text_is_text() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    text = {"type": "text", "text": "a"}
    assert said(chunk({"content": [thought]})) == ParsedEvent(thinks=True)
    assert said(chunk({"content": [thought, text]})) == ParsedEvent("a", thinks=True)
    assert said(chunk({"content": [text]}), as_langchain=True) == ParsedEvent("a")


def test_what_calls_once_were_is_a_call() -> None:
    call = {"name": "f", "arguments": "{"}
    pieces = (ToolCallPiece(0, None, "f", "{"),)
    assert said(chunk({"function_call": call})) == ParsedEvent(tool_calls=pieces)
    assert said(chunk({"content": "a", "function_call": call})) == ParsedEvent("a", "", pieces)


def test_a_refusal_is_text_but_not_to_langchain() -> None:
    refusal = chunk({"refusal": "No."})
    assert said(refusal) == ParsedEvent("No.", plain=True)
    assert said(refusal, as_langchain=True) == ParsedEvent("", plain=True)
    assert said(chunk({"content": "a", "refusal": "No."})).text == "a"


def test_of_several_choices_the_first_is_said_and_to_langchain_whichever_comes() -> None:
    second = chunk({"content": "b"}, index=1)
    assert said(second) == NOTHING
    assert said(second, as_langchain=True) == ParsedEvent("b")


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"choices": []},
        {"choices": None},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": []}]},
    ],
)
def test_a_chunk_without_a_choice_says_nothing(event: object) -> None:
    assert said(event) == NOTHING


def test_content_of_another_form_is_not_understood_as_text() -> None:
    assert said(chunk({"content": [{"text": "a"}]})) == NOTHING
    assert said(chunk({"content": {"type": "text", "text": "a"}})) == NOTHING
    assert said(chunk({"content": 1})) == NOTHING
    assert said(chunk({"content": "a"}, "stop")) == ParsedEvent("a")


def test_pieces_of_tool_calls_are_read_as_far_as_they_can_be() -> None:
    calls = [
        {"index": 2, "id": "c", "function": {"name": "f", "arguments": "{"}},
        {"index": "x", "id": 3, "function": {"name": 3, "arguments": 3}},
        {"function": "f"},
        "f",
    ]
    assert said(chunk({"tool_calls": calls})).tool_calls == (
        ToolCallPiece(2, "c", "f", "{"),
        ToolCallPiece(0, None, None, ""),
        ToolCallPiece(0, None, None, ""),
    )
    assert said(chunk({"tool_calls": {"index": 0}})).tool_calls == ()


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"\xff",
        b'{"choices":1}',
        b"[" * 100_000,
        b"[]",
        b'{"object":"error","message":"x"}',
        b'{"detail":"x"}',
    ],
)
def test_what_is_no_chunk_is_nothing(data: bytes) -> None:
    assert heard(data)[1] == [None]


@pytest.mark.parametrize(
    ("usage", "uncounted"),
    [
        ({"prompt_tokens": "many", "completion_tokens": 2}, True),
        ({"prompt_tokens": 1, "completion_tokens": True}, True),
        ({"total_tokens": {}}, True),
        ([1], True),
        ("none", True),
        (COUNTED, False),
        ({"total_tokens": 4}, False),
        ({"prompt_tokens": 1.0, "completion_tokens": None}, False),
        ({}, False),
        (None, False),
    ],
)
def test_a_usage_that_holds_no_numbers_says_so_if_it_is_all(usage: Any, uncounted: bool) -> None:
    assert said({"choices": [], "usage": usage}) == ParsedEvent(uncounted=uncounted)
    assert said({**chunk({"content": "a"}), "usage": usage or COUNTED}) == ParsedEvent("a")


@pytest.mark.parametrize(
    ("events", "finished", "reason"),
    [
        ([], False, None),
        ([chunk({"content": "a"})], False, None),
        ([chunk({"content": "a"}), chunk({}, "stop")], True, "stop"),
        ([chunk({"content": "a"}, "stop"), chunk({"content": "b"})], True, "stop"),
        ([chunk({}, "stop"), chunk({}, "length")], True, "length"),
        ([chunk({}), chunk({}, index=1), chunk({}, "stop")], False, "stop"),
        ([chunk({}), chunk({}, index=1), chunk({}, "length", index=1)], False, None),
        ([chunk({}, index=1), chunk({}, "stop"), chunk({}, "length", index=1)], True, "stop"),
        ([chunk({}, 3)], True, None),
        ([chunk({}, "stop", index=None)], True, "stop"),
        ([{"choices": [{}, {"index": 1}]}, chunk({}, "stop")], False, "stop"),
        ([chunk({}, "null"), chunk({}, "None"), chunk({}, " ")], False, None),
        ([chunk({}, "FINISH_REASON_UNSPECIFIED"), chunk({}, "STOP")], True, "STOP"),
        ([{"choices": [{"delta": [], "finish_reason": "stop"}]}], True, "stop"),
    ],
)
def test_an_answer_is_finished_when_all_its_choices_are(
    events: list[object], finished: bool, reason: str | None
) -> None:
    reader, _ = heard(*events)
    assert (reader.finished, reader.finish_reason) == (finished, reason)


@pytest.mark.parametrize(
    ("event", "failure"),
    [
        (chunk({"content": "a"}, "stop"), None),
        (chunk({}, "error"), UpstreamError),
        (chunk({}, "abort"), UpstreamError),
        (chunk({}, "insufficient_system_resource"), UpstreamError),
        (chunk({}, "rate_limited"), UpstreamRateLimited),
        (chunk({}, error={"code": 1}), UpstreamError),
        (chunk({}, error={"code": 1}, index=1), UpstreamError),
        (chunk({}, "stop", error={"code": 429}), UpstreamRateLimited),
        ({"error": "x"}, UpstreamError),
        (chunk({"error": {"code": 429}}), UpstreamRateLimited),
        (
            {**chunk({}, "stop"), "x_groq": {"id": "r", "error": "over capacity"}},
            UpstreamUnavailable,
        ),
        ({**chunk({}, "stop"), "x_groq": {"id": "r", "error": None}}, None),
        ({**chunk({}, "stop"), "x_groq": "r"}, None),
        ({**chunk({}), "error": {"code": 503}}, UpstreamUnavailable),
        ({**chunk({}), "error": None}, None),
    ],
)
def test_a_failure_that_is_named_is_one(event: object, failure: type[UpstreamError] | None) -> None:
    assert type(heard(event)[0].failure) is (failure or type(None))


def test_the_last_usage_counts_that_can_be_counted_with() -> None:
    assert heard({"usage": COUNTED}, {"usage": None}, {"usage": [1]})[0].usage == Usage(1, 2, 4)
    later = {"usage": {"prompt_tokens": 5, "completion_tokens": 6}}
    assert heard({"usage": COUNTED}, later)[0].usage == Usage(5, 6, 11)
    assert heard(chunk({"content": "a"}))[0].usage is None


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        (COUNTED, Usage(1, 2, 4)),
        ({"input_tokens": 1, "output_tokens": 2}, Usage(1, 2, 3)),
        ({"input_tokens": 1, "output_tokens": 2, "total_tokens": "4"}, Usage(1, 2, 3)),
        ({"input_tokens": 1}, None),
        ({"output_tokens": 1}, None),
        ({"prompt_tokens": "1", "completion_tokens": 2}, None),
        (None, None),
        ([1], None),
        ({"prompt_tokens": 2**64, "completion_tokens": 2}, None),
        ({"input_tokens": 1, "output_tokens": -2}, None),
    ],
)
def test_usage_is_read_in_either_apis_words(usage: object, counted: Usage | None) -> None:
    assert usage_of(usage) == counted


def response(*events: object) -> tuple[ResponsesEventReader, list[ParsedEvent | None]]:
    reader = ResponsesEventReader()
    return reader, [reader.read(encoded(event)) for event in events]


@pytest.mark.parametrize(
    ("event", "parsed"),
    [
        ({"type": "response.output_text.delta", "delta": "a"}, ParsedEvent("a")),
        ({"type": "response.refusal.delta", "delta": "a"}, ParsedEvent("a")),
        ({"type": "response.output_text.delta", "delta": 3}, NOTHING),
        ({"type": "response.reasoning_summary_text.delta", "delta": "a"}, ParsedEvent("", "a")),
        ({"type": "response.reasoning_text.delta", "delta": "a"}, ParsedEvent("", "a")),
        (
            {"type": "response.function_call_arguments.delta", "delta": "{", "output_index": 2},
            ParsedEvent(tool_calls=(ToolCallPiece(2, None, None, "{"),)),
        ),
        (
            {"type": "response.output_item.added", "output_index": "x",
                "item": {"type": "function_call", "call_id": "c", "name": "f"}},
            ParsedEvent(tool_calls=(ToolCallPiece(0, "c", "f", ""),)),
        ),
        ({"type": "response.output_item.added", "item": {"type": "message"}}, NOTHING),
        ({"type": "response.other", "delta": "a"}, NOTHING),
        ({}, NOTHING),
    ],
)  # fmt: skip
def test_each_event_of_a_response_says_what_its_type_says(
    event: object, parsed: ParsedEvent
) -> None:
    reader, told = response(event)
    assert told == [parsed]
    assert (reader.finished, reader.failure) == (False, None)


CALLED = {"type": "response.output_item.added", "item": {"type": "function_call"}}


def over(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "response": {"status": kind, **fields}}


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([over("completed")], "stop"),
        ([CALLED, over("completed")], "tool_calls"),
        ([over("incomplete", incomplete_details={"reason": "max_output_tokens"})], "length"),
        ([over("incomplete", incomplete_details={"reason": "content_filter"})], "content_filter"),
        ([over("incomplete")], None),
    ],
)
def test_a_response_ends_in_the_words_of_chat_completions(
    events: list[object], reason: str | None
) -> None:
    reader, told = response(*events)
    assert told[-1] == NOTHING
    assert (reader.finished, reader.failure, reader.finish_reason) == (True, None, reason)


@pytest.mark.parametrize(
    ("event", "failure"),
    [
        (over("failed"), UpstreamError),
        (over("failed", error={"code": "rate_limit_exceeded"}), UpstreamRateLimited),
        ({"type": "error"}, UpstreamError),
        ({"type": "error", "code": "429"}, UpstreamRateLimited),
        ({"type": "error", "message": "overloaded"}, UpstreamUnavailable),
    ],
)
def test_a_response_may_fail(event: object, failure: type[UpstreamError]) -> None:
    reader, told = response(event)
    assert (told, reader.finished, type(reader.failure)) == ([NOTHING], False, failure)
    assert reader.finish_reason is None


def test_a_responses_usage_comes_with_its_end() -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 4}
    assert response(over("completed", usage=usage))[0].usage == Usage(1, 2, 4)
    assert response(over("failed", usage=usage), over("failed"))[0].usage == Usage(1, 2, 4)
    assert response(over("completed"))[0].usage is None


@pytest.mark.parametrize("data", [b"{", b"\xff", b'{"type":1}', b"[" * 100_000])
def test_what_is_no_event_of_a_response_is_nothing(data: bytes) -> None:
    assert response(data)[1] == [None]


@pytest.mark.parametrize(
    ("status", "details"), [("in_progress", None), (None, None), ("incomplete", {"reason": 3})]
)
def test_a_response_that_has_not_ended_has_no_reason(status: object, details: object) -> None:
    assert responses_finish_reason(status, details, called=True) is None


@pytest.mark.parametrize("reason", [None, "", "stop", 3, {"type": "stop"}])
def test_a_reason_that_names_no_failure_is_none_whatever_it_is(reason: object) -> None:
    assert failure_of(reason) is None
