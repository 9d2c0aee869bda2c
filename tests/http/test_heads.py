"""The head of a request is bounded, and so are trailers; what is no request is answered."""

import asyncio
import json
from contextlib import suppress

import pytest

from sluice.interfaces.http.server.connection import Connection
from tests.http.house import DONE, House, serving
from tests.waiting import until

LINE, HOST, END = b"GET /healthz HTTP/1.1\r\n", b"Host: localhost\r\n", b"\r\n"
KIB_64 = 64 * 1024
CHUNKED = (
    b"POST /api/v1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


async def answered(house: House, *parts: bytes) -> bytes:
    """What comes back to parts that are sent one by one, to the end of the connection."""
    reader, writer = await house.raw(parts[0])
    for part in parts[1:]:
        await asyncio.sleep(0)
        writer.write(part)
    with suppress(ConnectionError):
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def assert_refused(answer: bytes, status: int = 431, code: str = "head_too_large") -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status_of(head) == status
    lines = head.lower().split(b"\r\n")
    assert b"connection: close" in lines
    assert b"content-type: application/problem+json" in lines
    assert b"x-content-type-options: nosniff" in lines
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (status, code)
    assert f"x-request-id: {problem['request_id']}".lower().encode() in lines


def fields(count: int) -> bytes:
    return b"".join(b"F%d: v\r\n" % n for n in range(count))


def padded(size: int) -> bytes:
    """A head of so many bytes."""
    rest = size - len(LINE + HOST + b"A: \r\n" + END)
    return LINE + HOST + b"A: " + b"x" * rest + b"\r\n" + END


CLOSE = b"Connection: close\r\n"


async def test_a_head_of_as_much_as_it_may_have_is_served() -> None:
    async with serving() as house:
        assert status_of(await answered(house, LINE + HOST + CLOSE + fields(98) + END)) == 200
        head = padded(KIB_64 - len(CLOSE))
        assert status_of(await answered(house, head[:-2] + CLOSE + END)) == 200


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    "head",
    [
        LINE + HOST + fields(100) + END,
        LINE + HOST + b"a:\r\n" * 100 + END,
        padded(KIB_64 + 1),
        b"GET /" + b"x" * KIB_64,
        b"GET /healthz?" + b"x" * KIB_64 + b" HTTP/1.1\r\n",
        LINE + HOST + b"x" * (KIB_64 + 1),
        LINE + HOST + b"A: " + b"x" * (KIB_64 + 1),
        LINE + HOST + b"A: " + b" " * (KIB_64 + 1),
        LINE + HOST + b"a: b\r\n" * 200_000,
        b"\r\n" * KIB_64,
    ],
    ids=[
        "fields", "empty fields", "bytes", "endless target", "query", "endless name",
        "endless value", "endless space", "no end of fields", "empty lines",
    ],
)  # fmt: skip
async def test_a_head_of_more_is_refused_and_its_connection_closed(
    head: bytes, whole: bool
) -> None:
    async with serving() as house:
        pieces = [head] if whole else [head[n : n + 9000] for n in range(0, len(head), 9000)]
        reader, writer = await house.raw(b"")
        with suppress(ConnectionError):
            for piece in [*pieces, b"x" * 9000]:  # it goes on
                writer.write(piece)
                await writer.drain()
        assert_refused(await asyncio.wait_for(reader.read(), 5))
        writer.close()
        await until(lambda: not house.state.connections)


@pytest.mark.parametrize("trailer", [b"a: b\r\n" * 101, b"x" * 300_000, b"A: " + b"x" * 300_000])
async def test_trailers_are_bounded_like_a_head(trailer: bytes) -> None:
    async with serving(DONE) as house:
        body = b'{"title": "x"}'
        chunk = b"%x\r\n%b\r\n0\r\n" % (len(body), body)
        assert_refused(await answered(house, CHUNKED + chunk, trailer, b"x" * KIB_64, b"x"))
        assert (await house.client.get("/api/v1/chat")).json()["items"] == []


async def test_a_trailer_is_no_field_of_the_head() -> None:
    """Or a proxy that passes them on would let anybody say who he is."""
    async with serving() as house:
        sent = CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        answer = await answered(house, sent + b"0\r\nX-Request-ID: from-a-trailer\r\n\r\n")
        assert status_of(answer) == 201
        assert b"from-a-trailer" not in answer


@pytest.mark.parametrize("behind", [b" ", b"\t", b" \t  "])
async def test_space_around_a_fields_value_is_no_part_of_it(behind: bytes) -> None:
    """Else a trusted proxy's user with a space behind his name would be another user."""
    named = b"X-Request-ID: \t mine" + behind + b"\r\n"
    async with serving() as house:
        answer = await answered(house, LINE + HOST + CLOSE + named + END)
        assert b"\r\nx-request-id: mine\r\n" in answer


async def test_what_is_neither_space_nor_tab_belongs_to_a_fields_value() -> None:
    async with serving() as house:
        answer = await answered(house, LINE + HOST + CLOSE + b"X-Request-ID: mine\xa0\r\n" + END)
        assert b"\r\nx-request-id: " in answer
        assert b"mine" not in answer


async def test_a_body_of_many_small_chunks_is_no_long_head() -> None:
    async with serving() as house:
        body = b'{"title": "x"}' + b" " * 30_000
        chunks = b"".join(b"1\r\n%b\r\n" % body[n : n + 1] for n in range(len(body)))
        sent = CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        parts = [chunks[n : n + 7000] for n in range(0, len(chunks), 7000)]
        assert status_of(await answered(house, sent, *parts, b"0\r\n\r\n")) == 201


async def test_requests_of_one_connection_count_by_themselves() -> None:
    async with serving() as house:
        one = LINE + HOST + fields(90) + b"A: " + b"x" * 40_000 + END + END
        last = LINE + HOST + CLOSE + END
        answer = await answered(house, one * 5 + last)
        assert answer.count(b"HTTP/1.1 200 ") == 6


async def test_a_refused_head_is_never_taken_for_the_answer_to_an_earlier_request() -> None:
    gate = asyncio.Event()
    async with serving(gate, DONE) as house:
        job = (await house.ask())["job_id"]
        stream = b"GET /api/v1/chat/%b/events HTTP/1.1\r\nHost: x\r\n\r\n" % job.encode()
        answer = await answered(house, stream + LINE + fields(102))
        assert answer.count(b"HTTP/1.1") <= 1
        assert b"431" not in answer
        gate.set()


@pytest.mark.parametrize(
    "sent", [b"nonsense\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"\x16\x03\x01\x02"]
)
async def test_what_is_no_request_is_answered_with_a_problem(sent: bytes) -> None:
    async with serving() as house:
        assert_refused(await answered(house, sent), 400, "bad_request")


async def test_a_peer_that_sends_fields_without_end_costs_no_memory() -> None:
    async with serving() as house:
        before = set(house.state.connections)
        reader, writer = await house.raw(LINE)
        await until(lambda: house.state.connections - before)
        (connection,) = house.state.connections - before
        assert isinstance(connection, Connection)
        for _ in range(200):
            writer.write(b"abcde: fghi\r\n" * 10_000)
            await writer.drain()
        assert len(connection.headers) <= 100
        assert_refused(await asyncio.wait_for(reader.read(), 5))
        writer.close()


async def test_an_upgrade_is_answered_as_a_request() -> None:
    async with serving() as house:
        upgrade = b"Connection: Upgrade, close\r\nUpgrade: websocket\r\n"
        assert status_of(await answered(house, LINE + HOST + upgrade + END)) == 200
