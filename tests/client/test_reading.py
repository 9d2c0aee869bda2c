"""What a client makes of what comes, without a socket: waits, checks, and what it asks for next."""

import json
from hashlib import sha256
from typing import Any

import httpx2
import pytest

from sluice.client import AnswerBroken, Backoff, Received, Refused, Reset, Token, Unreachable
from sluice.interfaces.client.reading import Reading
from sluice.interfaces.client.requests import question

BACKOFF = Backoff(first=1, longest=8, patience=1000)
DONE: dict[str, Any] = {
    "status": "completed",
    "path": "A2",
    "answer": "ab",
    "finish_reason": None,
    "length": 2,
    "sha256": sha256(b"ab").hexdigest(),
}


def sse(name: str, number: str, **data: Any) -> httpx2.ServerSentEvent:
    return httpx2.ServerSentEvent(event=name, data=json.dumps(data), id=number)


def token(number: str, content: str) -> httpx2.ServerSentEvent:
    return sse("token", number, content=content, node="answer")


def retry(milliseconds: int) -> httpx2.ServerSentEvent:
    return httpx2.ServerSentEvent(retry=milliseconds)


def reply(status: int, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, headers=named)


def reading(after: str = "", backoff: Backoff = BACKOFF) -> Reading:
    return Reading.of("j", after, backoff)


@pytest.mark.parametrize(
    ("path", "changed", "why"),
    [
        ("A2", {}, None),
        ("A1", {}, None),
        ("A2", {"answer": "ac", "sha256": sha256(b"ac").hexdigest()}, "the tokens"),
        ("A1", {"answer": "ac", "sha256": sha256(b"ac").hexdigest()}, None),
        ("A2", {"length": 3}, "another length"),
        ("A1", {"length": 3}, "another length"),
        ("A2", {"sha256": sha256(b"x").hexdigest()}, "another SHA-256"),
    ],
)
def test_an_answer_is_held_against_what_done_tells(
    path: str, changed: dict[str, Any], why: str | None
) -> None:
    it = reading()
    for number, piece in enumerate("ab" if path == "A2" else "", 1):
        it.took(token(f"1-{number}", piece))
    end = sse("done", "1-9", **(DONE | {"path": path} | changed))
    if why is None:
        assert it.took(end)
        assert it.over
    else:
        with pytest.raises(AnswerBroken, match=why):
            it.took(end)


def test_a_reset_takes_back_what_was_said_and_is_told() -> None:
    it = reading()
    it.took(token("1-2", "wrong"))
    told = it.took(sse("reset", "2-1", reason="new_attempt"))
    assert told == Received("j", "2-1", "reset", {"reason": "new_attempt"}, Reset("new_attempt"))
    it.took(token("2-2", "ab"))
    assert it.took(sse("done", "2-3", **DONE))


def test_who_begins_in_the_middle_holds_only_the_answer_against_done() -> None:
    it = reading(after="1-1")
    it.took(token("1-2", "b"))
    assert it.took(sse("done", "1-3", **DONE))
    again = reading(after="1-1")
    again.took(sse("reset", "1-0", reason="cursor_unknown"))
    again.took(token("1-2", "b"))
    with pytest.raises(AnswerBroken, match="the tokens"):
        again.took(sse("done", "1-3", **DONE))


def test_what_a_newer_service_tells_is_passed_over_and_counts_as_had() -> None:
    it = reading()
    assert it.took(sse("applause", "1-2", loud=True)) is None
    assert it.call().headers["Last-Event-ID"] == "1-2"
    told = it.took(sse("token", "1-3", content="a", node="answer", mood="new"))
    assert told is not None
    assert told.event == Token("a", "answer")
    assert told.data["mood"] == "new"


def test_the_last_event_is_where_it_goes_on_and_a_keepalive_is_none() -> None:
    it = reading()
    assert "Last-Event-ID" not in it.call().headers
    it.took(token("1-2", "a"))
    assert it.took(httpx2.ServerSentEvent("keepalive", "{}", "1-2")) is None
    assert it.call().headers["Last-Event-ID"] == "1-2"


def test_a_question_is_asked_until_its_job_is_known() -> None:
    it = Reading(BACKOFF, asking=question("Why?"))
    first = it.call()
    assert (first.method, first.json) == ("POST", {"message": "Why?"})
    it.lost(httpx2.ReadError("cut"))
    assert it.call() == first
    assert it.opened(reply(200, x_sluice_job="j", content_location="/api/v1/chat/j/events"))
    it.lost(httpx2.ReadError("cut"))
    assert (it.call().method, it.call().path) == ("GET", "/api/v1/chat/j/events")


def test_delays_double_up_to_their_limit_and_begin_anew_with_what_comes() -> None:
    it, waits = reading(), []
    for _ in range(6):
        it.lost(httpx2.ReadError("cut"))
        waits.append(it.wait)
    for wait, ceiling in zip(waits, (1, 2, 4, 8, 8, 8), strict=True):
        assert ceiling / 2 <= wait <= ceiling
    it.took(token("1-2", "a"))
    it.lost(httpx2.ReadError("cut"))
    assert it.wait <= 1


def test_a_refusal_that_will_pass_is_waited_out_for_as_long_as_it_says() -> None:
    it = reading()
    for status in (429, 500, 502, 503):
        refused = reply(status, retry_after="60")
        assert not it.opened(refused)
        it.refused(refused)
        assert it.wait == 60
    it.refused(reply(503, retry_after="Sun, 06 Nov 1994 08:49:37 GMT"))
    assert it.wait <= 8


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 422])
def test_a_refusal_for_good_is_raised(status: int) -> None:
    it = reading()
    assert not it.opened(reply(status))
    with pytest.raises(Refused) as refused:
        it.refused(reply(status))
    assert refused.value.status == status


def test_a_service_that_leaves_says_when_to_come_back_and_a_cut_does_not() -> None:
    it = reading()
    it.opened(reply(200))
    for told in (retry(1000), token("1-2", "a"), retry(4200)):
        it.took(told)
    it.ended()
    assert it.wait == 4.2
    it.opened(reply(200))
    for told in (retry(1000), token("1-3", "b")):
        it.took(told)
    it.ended()
    assert it.wait <= 1


def test_behind_the_last_event_there_is_nothing_to_wait_for() -> None:
    it = reading(after="1-9")
    over = reply(204)
    assert not it.opened(over)
    it.refused(over)
    assert it.over
    ended = reading()
    ended.took(sse("cancelled", "1-2", status="cancelled", reason="user"))
    ended.lost(httpx2.ReadError("cut"))
    ended.ended()
    assert (ended.over, ended.wait) == (True, 0)


def test_who_is_not_there_any_more_is_given_up_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    it = reading(backoff=Backoff(first=1, longest=8, patience=60))
    it.took(token("1-2", "a"))
    clock[0] = 50
    it.lost(httpx2.ConnectError("refused"))
    it.took(httpx2.ServerSentEvent("keepalive", "{}", "1-2"))
    clock[0] = 105
    it.lost(httpx2.ConnectError("refused"))
    clock[0] = 110
    with pytest.raises(Unreachable):
        it.lost(httpx2.ConnectError("refused"))
