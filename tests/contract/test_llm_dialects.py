"""What servers put on the wire that is not quite the protocol, byte by byte, on both clients."""

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest

from sluice.domain import errors

from .llm_clients import REAL, client, upstream_of_bytes

HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
EVENTS = HEAD + b"Content-Type: text/event-stream\r\n\r\n"
NEVER = 100.0
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":3}}\n\n'


def says(text: str, finish_reason: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    return f"data: {json.dumps({'choices': [choice], **more})}\n\n".encode()


@pytest.fixture(params=REAL)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def heard(kind: str, *plays: bytes | float, **settings: Any) -> tuple[str, type | None]:
    """What a stream said, and what it raised; within 5 s."""
    said: list[str] = []
    async with upstream_of_bytes(*plays) as base_url, client(kind, base_url, **settings) as llm:
        try:
            async with asyncio.timeout(5), aclosing(llm.stream("What?")) as pieces:
                async for piece in pieces:
                    said.append(piece)
        except errors.ChatError as error:
            return "".join(said), type(error)
    return "".join(said), None


GOOD = says("a") + says("b") + STOP + DONE


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Content-Type: application/json\r\n",
        b"Content-Type: application/octet-stream\r\n",
        b"Content-Type: text/plain; charset=utf-8\r\n",
        b"Content-Type: text/html\r\n",
        b"Content-Type: TEXT/EVENT-STREAM ; charset=utf-8\r\n",
        b"Content-Type: text/event-stream\r\nX-Policy: " + b"a" * 65_000 + b"\r\n",
        b"Content-Type: text/event-stream\r\n" + b"X-Policy: a\r\n" * 500,
    ],
    ids=["none", "json", "octets", "text", "html", "case", "64 KiB", "500 headers"],
)
async def test_a_good_stream_is_read_under_any_name(kind: str, header: bytes) -> None:
    assert await heard(kind, HEAD + header + b"\r\n", GOOD[:1], 0.01, GOOD[1:]) == ("ab", None)


@pytest.mark.parametrize(
    "beginning", [b"\xef\xbb\xbf", b": hi\n\n", b"\r\n\r\n", b"retry: 1\n", b"event: x\n"]
)
async def test_a_stream_may_begin_with_something_else(kind: str, beginning: bytes) -> None:
    body = beginning + GOOD
    for head in (EVENTS, HEAD + b"\r\n"):
        assert await heard(kind, head, body[:1], 0.01, body[1:]) == ("ab", None)


async def test_a_page_is_no_stream_though_it_is_called_one(kind: str) -> None:
    assert await heard(kind, EVENTS + b"\n<html>", NEVER) == ("", errors.UpstreamBadResponse)


@pytest.mark.parametrize("encoding", [b"gzip", b"foo"])
async def test_what_is_encoded_in_a_way_that_is_not_known_is_no_stream(
    kind: str, encoding: bytes
) -> None:
    """A broken one likewise; but some servers only say so."""
    head = EVENTS[:-2] + b"Content-Encoding: %b\r\n\r\n" % encoding
    compressed = b"(\xb5/\xfd$\x0b"
    assert await heard(kind, head, compressed) == ("", errors.UpstreamBadResponse)
    if encoding == b"foo":
        assert await heard(kind, head, GOOD[:1], 0.01, GOOD[1:]) == ("ab", None)


@pytest.mark.parametrize("name", [b"", b"Content-Type: application/json\r\n"])
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"<!doctype html><p>hi", errors.UpstreamBadResponse),
        (b"\n  <html>", errors.UpstreamBadResponse),
        (b"hello", errors.UpstreamBadResponse),
        (b"", errors.UpstreamBadResponse),
        (b'{"status":"ok"}', errors.UpstreamBadResponse),
        (b'{"choices":[{"message":{}}]}', errors.UpstreamBadResponse),
        (b'{"error":{"code":429}}', errors.UpstreamRateLimited),
        (b'{\n"error": {"type":"overloaded_error"}}', errors.UpstreamUnavailable),
        (b'{"detail":"Unauthorized"}', errors.UpstreamAuth),
    ],
)
async def test_what_is_no_stream_is_refused(
    kind: str, name: bytes, body: bytes, error: type
) -> None:
    assert await heard(kind, HEAD + name + b"\r\n", body[:9], 0.01, body[9:]) == ("", error)


async def test_a_length_beside_chunks_never_cuts_a_done(kind: str) -> None:
    both = b"Content-Length: 12\r\nTransfer-Encoding: chunked\r\n"
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (says("a"), says("b") + STOP))
    head = HEAD + b"Content-Type: text/event-stream\r\n" + both + b"\r\n"
    said, error = await heard(kind, head + body + b"0\r\n\r\n")
    assert (said, error) in [("ab", None), ("", errors.UpstreamBadResponse)]


@pytest.mark.parametrize(
    "end",
    [
        STOP + b"data:[DONE]\n\n",
        STOP + b"data: [DONE] \n\n",
        STOP + b"data: [DONE]",
        STOP + b"data: [DONE]\r\n\r\n",
        STOP.rstrip(),
        STOP.replace(b"\n\n", b"\r\r"),
        STOP + b"data: {",
        STOP + b"data: {\n\n" + DONE,
        STOP + b'data: {"choices":[],"usage":{"prompt_tokens":NaN}}\n\n' + DONE,
        STOP + b'data: {"choices":[],"usage":"none"}\n\n' + DONE,
        STOP + b'data: {"choices":[{"index":0,"finish_reason":null,"offsets":{}}]}\n\n' + DONE,
        STOP + b"data: \xff\n\ngarbage\n\n" + DONE,
        says("", "stop", usage={"prompt_tokens": "1"}),
    ],
)
async def test_a_finished_answer_is_whole_whatever_follows(kind: str, end: bytes) -> None:
    assert await heard(kind, EVENTS + says("a") + says("b") + end) == ("ab", None)


@pytest.mark.parametrize(
    "plays",
    [
        (says("a", "stop"), 0.2, says("b", "stop"), 1.4, says("c", "stop"), DONE),
        (says("a"), STOP, 1.5, says("b"), says("c"), DONE),
        (says("a"), STOP, says("b"), STOP, 1.2, says("c"), STOP),
        (says("a"), STOP, says("b"), STOP, 1.2, says("c"), STOP, NEVER),
        (says("a"), says("b"), says("c", "stop"), NEVER),
        (says("abc"), STOP, USAGE, NEVER),
        (says("abc"), STOP, b": warm\n\n", 1.0, b": warm\n\n", NEVER),
        (says("abc"), STOP, DONE, NEVER),
        (says("a", "stop"), says("b", "stop"), says("c", "stop"), DONE, NEVER),
        (says("a", "stop"), says("b", "stop"), says("c", "stop"), USAGE, NEVER),
    ],
)
async def test_an_answer_ends_at_its_end_and_not_at_a_finish_reason(
    kind: str, plays: tuple[bytes | float, ...]
) -> None:
    assert await heard(kind, EVENTS, *plays) == ("abc", None)


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ((NEVER,), errors.UpstreamTimeout),
        ((b"data: {\n\n", says("d", "stop"), DONE), errors.UpstreamBadResponse),
        ((b'data: {"error":{"code":503}}\n\n', DONE), errors.UpstreamUnavailable),
        ((b"event: error\ndata: overloaded\n\n",), errors.UpstreamUnavailable),
    ],
)
async def test_a_half_is_no_answer_though_each_piece_says_that_it_is(
    kind: str, end: tuple[bytes | float, ...], error: type
) -> None:
    half = EVENTS + says("a", "stop") + says("b", "stop") + says("c", "stop")
    assert await heard(kind, half, *end, idle_timeout=0.5) == ("abc", error)


async def test_a_broken_connection_cuts_what_says_its_end_too_often(kind: str) -> None:
    head = EVENTS.replace(b"Connection: close", b"Content-Length: 9999")
    half = head + says("a", "stop") + says("b", "stop")
    assert await heard(kind, half) == ("ab", errors.UpstreamDisconnected)
    assert await heard(kind, head + says("ab") + STOP) == ("ab", None)


async def test_done_without_a_finish_reason_is_truncated_at_once(kind: str) -> None:
    assert await heard(kind, EVENTS + says("a") + DONE, NEVER) == ("a", errors.UpstreamTruncated)


async def test_a_slow_listener_misses_no_late_piece(kind: str) -> None:
    plays = (EVENTS, says("a", "stop"), 0.1, says("b"), DONE)
    async with (
        upstream_of_bytes(*plays) as base_url,
        client(kind, base_url) as llm,
        aclosing(llm.stream("What?")) as pieces,
    ):
        assert await anext(pieces) == "a"
        await asyncio.sleep(3.5)
        assert [piece async for piece in pieces] == ["b"]
