"""The events of a body: wherever its reads and lines end, and with failures told beside them."""

import pytest

from sluice.domain.errors import (
    UpstreamBadResponse,
    UpstreamError,
    UpstreamRateLimited,
)
from sluice.infrastructure.llm.decoding import DeltaDecoder
from sluice.infrastructure.llm.event_stream import EventSplitter

BODY = b"data: a\ndata: b\n\ndata:c\n\n: comment\n\nid: 1\nevent: x\ndata: d\n\n"
DATA = [b"a\nb", b"c", b"d"]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_body_has_the_same_events_wherever_it_is_cut(line_end: bytes) -> None:
    body = BODY.replace(b"\n", line_end)
    for cut in range(len(body) + 1):
        splitter = EventSplitter()
        assert [*splitter.feed(body[:cut]), *splitter.feed(body[cut:])] == DATA, cut
    splitter = EventSplitter()
    assert [data for byte in body for data in splitter.feed(bytes([byte]))] == DATA


@pytest.mark.parametrize("read", [b"data: a\r\n\n", b"data: a\n\n\n", b"data: a\n\r\n"])
def test_a_read_that_ends_its_event_oddly_is_one_event(read: bytes) -> None:
    assert EventSplitter().feed(read) == [b"a"]


def test_what_the_end_leaves_may_have_come_in_pieces() -> None:
    splitter = EventSplitter()
    assert [*splitter.feed(b"data: a"), *splitter.feed(b"b"), *splitter.end()] == [b"ab"]
    assert splitter.end() == []


@pytest.mark.parametrize("reads", [(), (b"data: a", b"\n\n")])
def test_an_event_may_be_as_long_as_its_bound_and_no_longer(reads: tuple[bytes, ...]) -> None:
    splitter, part = EventSplitter(), b"x" * 2**20
    for read in reads:
        splitter.feed(read)
    for _ in range(16):
        assert splitter.feed(part) == []
    with pytest.raises(UpstreamBadResponse):
        splitter.feed(b"x")


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"\xef\xbb\xbfdata: x\n\n", [b"x"]),
        (b"data: x:y\n\n", [b"x:y"]),
        (b"data:  x \n\n", [b" x "]),
        (b"data\n\n", [b""]),
        (b": hi\ndata: x\nid: 1\ndata: y\n\n", [b"x\ny"]),
    ],
)
def test_an_event_is_its_data(body: bytes, data: list[bytes]) -> None:
    assert EventSplitter().feed(body) == data


def test_where_a_protocol_names_its_failures_they_are_events_of_it() -> None:
    splitter = EventSplitter(names=True)
    assert splitter.feed(b"event: response.failed\ndata: x\n\nevent: error\ndata: y\n\n") == [
        b"x", b"y",
    ]  # fmt: skip
    assert splitter.feed(b'error: {"code": 1}\n\n') == [b'{"error":{"code":1}}']


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"error: Too many requests\n\n", UpstreamRateLimited),
        (b"error: \xff rate limit\n\n", UpstreamRateLimited),
        (b'error: {"code":\nerror: 429}\n\n', UpstreamRateLimited),
        (b"event: error\ndata: rate limit\n\n", UpstreamRateLimited),
        (b"event: x\nevent: error\ndata: rate limit\n\n", UpstreamRateLimited),
        (b"error\n\n", UpstreamError),
        (b"event: error\n\n", UpstreamError),
        (b"event: \xff rate limit error\n\n", UpstreamRateLimited),
        (b'event: throttlingException\ndata: {"message": "Slow down"}\n\n', UpstreamRateLimited),
        (b"event: rate_limit_error\ndata: Slow down\n\n", UpstreamError),
        (b"event: rate_limit_error\ndata:\n\n", UpstreamRateLimited),
        (
            b'event: modelError\ndata: {"name": "Throttled", "message": "x"}\n\n',
            UpstreamRateLimited,
        ),
    ],
)
def test_a_failure_beside_the_protocol_is_what_it_says(
    body: bytes, expected: type[UpstreamError]
) -> None:
    with pytest.raises(UpstreamError) as raised:
        list(DeltaDecoder().feed(body))
    assert raised.type is expected
