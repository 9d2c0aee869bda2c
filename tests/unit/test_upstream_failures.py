"""What an upstream says of its failures, by the content of what it says and in whatever form."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from sluice.domain.errors import (
    UpstreamAuth,
    UpstreamBadResponse,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamUnavailable,
)
from sluice.infrastructure.llm.decoding import DeltaDecoder
from sluice.infrastructure.llm.event_stream import begins_events
from sluice.infrastructure.llm.failures import of_error, of_status

BY_CONTENT = [
    ({"code": 429, "message": "x"}, UpstreamRateLimited),
    ({"code": "rate_limit_exceeded"}, UpstreamRateLimited),
    ({"type": "insufficient_quota"}, UpstreamRateLimited),
    ({"message": "Too many requests, slow down"}, UpstreamRateLimited),
    ({"code": 8, "status": "RESOURCE_EXHAUSTED"}, UpstreamRateLimited),
    ("You have hit the rate limit", UpstreamRateLimited),
    ({"code": "401"}, UpstreamAuth),
    ({"type": "invalid_request_error", "code": "invalid_api_key"}, UpstreamAuth),
    ({"type": "authentication_error"}, UpstreamAuth),
    ({"status": 403}, UpstreamAuth),
    ({"message": "Unauthorized"}, UpstreamAuth),
    ({"type": "overloaded_error", "message": "Overloaded"}, UpstreamUnavailable),
    ({"code": 502, "message": "rate limit of a provider"}, UpstreamUnavailable),
    ({"metadata": {"code": 503}}, UpstreamUnavailable),
    ("error 503", UpstreamUnavailable),
    ({"code": 400, "message": "rate limit"}, UpstreamError),
    ({"code": "400", "message": "rate limit"}, UpstreamError),
    ({"code": 600}, UpstreamError),
    ({"status": "RATE_LIMITED", "code": 599}, UpstreamUnavailable),
    ({"message": {"code": 429}}, UpstreamRateLimited),
    ({"message": "rate limit", "detail": "invalid API key"}, UpstreamRateLimited),
    ([{"message": "x"}, {"code": 429}], UpstreamError),
    ({"param": "api_key"}, UpstreamError),
    ({"type": "server_error", "code": "server_error", "message": "secret"}, UpstreamError),
    ({"code": "context_length_exceeded", "message": "at most 512 tokens"}, UpstreamError),
    ("secret", UpstreamError),
    (True, UpstreamError),
]
FORMS = {
    "error object": 'data: {"error":%s}\n\n',
    "of choices": 'data: {"choices":[],"error":%s}\n\n',
    "named event": "event: error\ndata: %s\n\n",
    "named event of an object": 'event: error\ndata: {"error":%s}\n\n',
    "event that failed": "event: response.failed\r\ndata: %s\r\n\r\n",
    "field": "error: %s\n\n",
    "bare": '{"error":%s}\n\n',
    "bare amid fields": ': hi\n{"error":%s}\ndata: [DONE]\n\n',
    "bare on several lines": '{\n  "error": %s\n}\n\n',
    "a list": 'data: [{"error":%s}]\n\n',
    "without an end": 'data: {"error":%s}',
    "bare without an end": '{"error":%s}',
}

FAILED = (
    "error ERROR abort aborted failed cancelled canceled user_cancel server_error "
    "network_error timeout timed_out exception ERROR_TOXIC "
    "insufficient_system_resource MALFORMED_FUNCTION_CALL"
)
ENDED = (
    "stop STOP length content_filter tool_calls function_call eos eos_token end_turn "
    "stop_sequence COMPLETE max_tokens MAX_TOKENS model_length tool_use SAFETY "
    "RECITATION sensitive pause_turn refusal unknown"
)


def raised(body: str, *, after: bytes = b"") -> type[Exception] | None:
    """And nothing of its text is in the error's."""
    decoder = DeltaDecoder()
    try:
        for _ in [*decoder.feed(after), *decoder.feed(body.encode()), *decoder.end()]:
            pass
    except UpstreamError as error:
        return None if "secret" in f"{error!r}" else type(error)
    return None


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("error", "expected"), BY_CONTENT)
@pytest.mark.parametrize("finish_reason", [None, "stop"])
def test_an_error_is_what_its_content_says_in_every_form(
    form: str, error: object, expected: type[Exception], finish_reason: str | None
) -> None:
    """Also when something was said before, and behind a finish reason."""
    choice = {"delta": {"content": "a"}, "finish_reason": finish_reason}
    said = b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode()
    assert raised(FORMS[form] % json.dumps(error), after=said) is expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"object": "error", "message": "m", "code": 429}, UpstreamRateLimited),
        ({"object": "error", "message": "m", "type": "BadRequestError"}, UpstreamError),
        ({"type": "error", "error": {"type": "overloaded_error"}}, UpstreamUnavailable),
        ({"type": "error", "message": "Unauthorized"}, UpstreamAuth),
        ({"detail": "Too Many Requests"}, UpstreamRateLimited),
        ({"detail": [{"loc": ["body"], "msg": "Field required"}]}, UpstreamError),
        ({"status": 503, "message": "m"}, UpstreamUnavailable),
        ({"error_code": 18, "error_msg": "Open api qps request limit reached"}, UpstreamError),
        ({"success": False, "errors": [{"code": 401}]}, UpstreamAuth),
        ({"success": False, "message": "Too many requests"}, UpstreamRateLimited),
        ({"status": "error", "message": "Too many requests"}, UpstreamRateLimited),
        ({"errors": [{"code": 401}]}, UpstreamAuth),
        ({"error_code": 18}, UpstreamError),
        ({"error_msg": "Too many requests"}, UpstreamRateLimited),
        ({"detail": {"code": 429}}, UpstreamRateLimited),
        ({"choices": ["text"], "error": {"code": 429}}, UpstreamRateLimited),
    ],
)
def test_other_objects_that_are_surely_errors(told: object, expected: type[Exception]) -> None:
    assert raised(f"data: {json.dumps(told)}\n\n") is expected
    assert raised(f"data:  {json.dumps(told)}\n\n") is expected
    assert raised(f"{json.dumps(told)}\n\n") is expected


def test_a_broken_answer_beside_which_something_is_told_is_no_named_failure() -> None:
    told = {"choices": ["text"], "error_code": 429}
    assert raised(f"data: {json.dumps(told)}\n\n") is UpstreamBadResponse


@pytest.mark.parametrize("wrap", [lambda error: {"error": error}, lambda error: [error]])
def test_an_error_within_errors_is_looked_for_to_the_fifth(wrap: Callable[[Any], Any]) -> None:
    error: Any = {"code": 429}
    for _ in range(5):
        error = wrap(error)
    assert type(of_error(error)) is UpstreamRateLimited
    assert type(of_error(wrap(error))) is UpstreamError


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, UpstreamBadResponse),
        (399, UpstreamBadResponse),
        (400, UpstreamError),
        (401, UpstreamAuth),
        (403, UpstreamAuth),
        (404, UpstreamError),
        (429, UpstreamRateLimited),
        (499, UpstreamError),
        (500, UpstreamUnavailable),
        (529, UpstreamUnavailable),
    ],
)
def test_a_status_is_a_failure_of_its_kind_and_is_named(
    status: int, expected: type[Exception]
) -> None:
    failure = of_status(status)
    assert (type(failure), str(failure)) == (expected, f"status {status}")


@pytest.mark.parametrize(
    "told",
    [
        {"type": "ping"},
        {"status": "ok"},
        {"code": 200, "message": "alive"},
        {"success": True, "message": "alive"},
        {"error": None},
        {"choices": [], "detail": "x", "id": "1"},
        {"usage": {"prompt_tokens": 429}},
    ],
)
def test_a_heartbeat_of_json_is_no_error(told: object) -> None:
    assert raised(f"data: {json.dumps(told)}\n\n") is None
    assert raised(f"{json.dumps(told)}\n\n") is None
    assert raised(f"event: ping\ndata: {json.dumps(told)}\n\n") is None


@pytest.mark.parametrize("reason", FAILED.split())
def test_a_finish_reason_may_tell_a_failure(reason: str) -> None:
    choice = {"delta": {}, "finish_reason": reason}
    assert raised(f"data: {json.dumps({'choices': [choice]})}\n\n") is UpstreamError


@pytest.mark.parametrize("reason", ENDED.split())
def test_any_other_finish_reason_is_an_end(reason: str) -> None:
    choice = {"delta": {}, "finish_reason": reason}
    assert raised(f"data: {json.dumps({'choices': [choice]})}\n\n") is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": 429}, UpstreamRateLimited),
        ({"code": 401}, UpstreamAuth),
        ({"code": 502}, UpstreamError),
        ("secret", UpstreamError),
    ],
)
@pytest.mark.parametrize("place", ["choice", "delta", "delta with a text"])
def test_an_error_within_a_choice_ends_the_answer(
    error: object, expected: type[Exception], place: str
) -> None:
    within = {"delta": {"content": "a"}, "error": error}
    text = {"content": "a"} if place == "delta with a text" else {}
    choice = within if place == "choice" else {"delta": {**text, "error": error}}
    assert raised(f"data: {json.dumps({'choices': [choice]})}\n\n") is expected


@pytest.mark.parametrize(
    ("head", "begins"),
    [
        (b"data: {", True),
        (b"data:x", True),
        (b"\xef\xbb\xbfdata: x", True),
        (b"\r\n\r\nevent: x", True),
        (b": comment", True),
        (b"retry: 1", True),
        (b"id: 1", True),
        (b"error: {", True),
        (b"", None),
        (b"\n", None),
        (b"da", None),
        (b"\xef\xbb", None),
        (b"\xef\xbb\xbf", None),
        (b"<html>", False),
        (b'{"choices"', False),
        (b"data is", False),
        (b"plain", False),
        (b"\x00", False),
    ],
)
def test_its_first_bytes_show_an_event_stream(head: bytes, begins: bool | None) -> None:
    assert begins_events(head) is begins
