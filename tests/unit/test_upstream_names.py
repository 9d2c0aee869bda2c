"""By what an upstream's answer is known as a stream, and what is made of one that is none."""

import httpx2
import pytest

from sluice.domain import errors
from tests.unit.upstreams import NAMELESS, NEVER, STOP, A, Asking, Server, failure

pytestmark = pytest.mark.usefixtures("no_settings")


def named(name: bytes) -> bytes:
    return NAMELESS.replace(b"\r\n\r\n", b"\r\nContent-Type: " + name + b"\r\n\r\n")


NAMES = [
    NAMELESS,
    named(b"application/json"),
    named(b"text/event-stream"),
    named(b" TEXT/Event-Stream ; charset=utf-8"),
]


@pytest.mark.parametrize("head", NAMES)
async def test_a_stream_is_read_by_whatever_name(
    head: bytes, server: Server, asking: Asking
) -> None:
    server.plays((head + A[:2], 0.01, A[2:] + STOP))
    assert await asking.text() == "a"
    server.plays((head + b"id:", 0.01, b"1\n\n" + A + STOP))
    assert await asking.text() == "a"


@pytest.mark.parametrize("head", NAMES)
async def test_a_page_is_none_by_any_name(head: bytes, server: Server, asking: Asking) -> None:
    server.plays((head + b"\n <html>", NEVER))
    failed = await failure(asking)
    assert type(failed) is errors.UpstreamBadResponse
    await server.closed()
    assert server.left == 1


@pytest.mark.parametrize("head", NAMES[:2])
async def test_json_in_a_streams_place_says_what_failed(
    head: bytes, server: Server, asking: Asking
) -> None:
    body = b' [{"error": {"code": 429}}]'
    server.plays((head + body[:6], 0.01, body[6:]))
    assert type(await failure(asking)) is errors.UpstreamRateLimited
    for other in (b'{"status": "ok"}', b"", b"hello"):
        server.plays((head + other,))
        assert type(await failure(asking)) is errors.UpstreamBadResponse


async def test_what_breaks_before_it_begins_is_called_what_it_is(
    server: Server, asking: Asking
) -> None:
    server.plays((NAMELESS.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n") + A,))
    failed = await failure(asking)
    assert type(failed) is errors.UpstreamBadResponse
    assert type(failed.__cause__) is httpx2.DecodingError


async def test_what_is_encoded_as_nobody_asked_is_no_stream_by_its_own_name(
    server: Server, asking: Asking
) -> None:
    head = named(b"text/event-stream\r\nContent-Encoding: foo")
    server.plays((head + b"(\xb5/\xfd$\x0b",))
    assert type(await failure(asking)) is errors.UpstreamBadResponse
    server.plays((head + A + STOP,))
    assert await asking.text() == "a"


async def test_json_without_end_is_read_so_far_and_no_further(
    server: Server, asking: Asking
) -> None:
    server.plays((NAMELESS + b"{" + b" " * (64 * 1024 - 1), 0.05, b'"error": {"code": 429}}'))
    assert type(await failure(asking)) is errors.UpstreamRateLimited
    server.plays((NAMELESS + b"{" + b" " * 64 * 1024, NEVER))
    assert type(await failure(asking)) is errors.UpstreamBadResponse


@pytest.mark.parametrize("head", NAMES)
async def test_by_its_own_name_a_stream_may_begin_with_a_field_of_nobodys(
    head: bytes, server: Server, asking: Asking
) -> None:
    server.plays((head + b"mine: 1\n\n" + A + STOP,))
    if head in NAMES[2:]:
        assert await asking.text() == "a"
    else:
        assert type(await failure(asking)) is errors.UpstreamBadResponse
