"""Peers that are too slow to ask, or that stop reading."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from sluice.domain.events import Done, Token
from tests.http.house import DONE, House, path, serving, text
from tests.waiting import until


async def test_a_reader_that_stops_reading_is_cut_and_resumes_without_a_gap() -> None:
    said = [Token(f"{n:04}" * 2048, "answer") for n in range(500)]
    answer = "".join(token.content for token in said)
    async with serving(*said, Done("A2", ""), timeout=0.3) as house:
        job = await house.asked()
        async with stalled_reader(house, f"GET {path(job)} HTTP/1.1\r\nHost: x\r\n\r\n") as stalled:
            await until(lambda: house.streams.stalled == 1)
            await until(lambda: not house.state.tasks)
            assert (house.streams.open, house.follow.open.total()) == (0, 0)
            cursor = _last_id(await _rest(stalled))
        resumed = await house.read(job, headers={"Last-Event-ID": cursor})
        seen = int(cursor.split("-")[1]) - 1
        assert text(resumed) == answer[seen * 8192 :]


@asynccontextmanager
async def stalled_reader(house: House, request: str) -> AsyncIterator[socket.socket]:
    """Asks, and reads nothing; the system keeps as little as it can for it."""
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.setblocking(False)
        loop = asyncio.get_running_loop()
        before = set(house.state.connections)
        await loop.sock_connect(stalled, ("127.0.0.1", house.port))
        await until(lambda: house.state.connections - before)
        (mine,) = house.state.connections - before
        accepted = mine.transport.get_extra_info("socket")
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        await loop.sock_sendall(stalled, request.encode())
        yield stalled


async def _rest(stalled: socket.socket) -> bytes:
    """What had reached the peer when its connection was cut."""
    loop = asyncio.get_running_loop()
    seen = bytearray()
    try:
        while piece := await loop.sock_recv(stalled, 65536):
            seen += piece
    except ConnectionResetError:
        pass
    return bytes(seen)


def _last_id(seen: bytes) -> str:
    whole = seen[: seen.rindex(b"\n\n")]
    return whole[whole.rindex(b"id: ") + 4 :].split(b"\n")[0].decode()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_the_end_of_an_answer_that_nobody_reads_does_not_keep_its_connection(
    version: str,
) -> None:
    said = [Token("x" * 8192, "answer") for _ in range(5)]
    async with serving(*said, DONE, timeout=0.3) as house:
        job = await house.asked()
        async with stalled_reader(house, f"GET {path(job)} HTTP/{version}\r\nHost: x\r\n\r\n"):
            await until(lambda: house.streams.stalled == 1)
            await until(lambda: len(house.state.connections) <= 1)  # the client's own is idle


@pytest.mark.parametrize(
    "sent",
    ["", "POST /api/v1/ch", "POST /api/v1/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"],
)
async def test_a_peer_that_never_finishes_asking_is_cut(sent: str) -> None:
    async with serving(DONE, timeout=0.3) as house:
        _, writer = await house.raw(sent)
        await until(lambda: not house.state.connections and not house.state.tasks)
        writer.close()
        assert house.streams.stalled == 0


async def test_a_peer_that_sends_an_empty_line_and_nothing_more_is_cut() -> None:
    """Which HTTP allows before a request, and takes for none."""
    async with serving(DONE, timeout=0.3) as house:
        reader, writer = await house.raw("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.write(b"\r\n")
        await until(lambda: not house.state.connections)
        writer.close()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_peer_still_sending_when_it_is_refused_gets_to_read_why(version: str) -> None:
    body = b'"' + b"x" * 10_000_000 + b'"'
    head = (
        f"POST /api/v1/chat HTTP/{version}\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    async with serving(DONE) as house:
        reader, writer = await house.raw(head.encode() + body)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"\r\nconnection: close\r\n" in answer
        await until(lambda: not house.state.connections)
        writer.close()


async def test_a_refused_peer_that_never_stops_sending_is_cut() -> None:
    head = (
        "POST /api/v1/chat HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        "Content-Type: application/json\r\nContent-Length: 10000000\r\n\r\n"
    )
    async with serving(DONE, timeout=0.3) as house:
        reader, writer = await house.raw(head)
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")  # and the end of our side
        await until(lambda: not house.state.connections)
        writer.close()


async def test_a_refused_peer_that_sends_on_and_on_is_cut() -> None:
    head = (
        "POST /api/v1/chat HTTP/1.1\r\nHost: x\r\n"
        "Content-Type: application/json\r\nContent-Length: 400000000\r\n\r\n"
    )
    async with serving(DONE) as house:
        reader, writer = await house.raw(head)
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
        taken = 0
        with suppress(ConnectionError):
            while taken < 400_000_000:
                writer.write(b"x" * 1_000_000)
                await writer.drain()
                taken += 1_000_000
        assert 16_000_000 < taken < 40_000_000
        await until(lambda: not house.state.connections)
        writer.close()


async def test_a_reader_that_waits_for_a_slow_model_is_not_cut() -> None:
    gate = asyncio.Event()
    async with serving(gate, DONE, timeout=0.3, ping=0.01) as house:
        job = (await house.ask())["job_id"]
        async with house.client.stream("GET", f"/api/v1/chat/{job}/events") as answer:
            pieces = answer.aiter_raw()
            body = b""
            while body.count(b"keepalive") < 40:
                body += await anext(pieces)
            gate.set()
            assert b"event: done" in b"".join([piece async for piece in pieces])
