"""Readers of every kind, and every way in which a stream ends but by its job's end."""

import asyncio
from contextlib import suppress
from typing import Any

import httpx2
import pytest

from sluice.application.encoding import Batch
from sluice.domain.errors import Unavailable
from sluice.domain.events import Cursor, Recorded
from sluice.interfaces.http.server.frame_writer import ON_LEFT, PUSH, RESET
from sluice.interfaces.http.services import StreamStats
from sluice.interfaces.protocols.native.encoder import KEEPALIVE, frame
from sluice.interfaces.protocols.native.reading import NativeStream, cursor_of
from tests.http.house import (
    ANSWER,
    DONE,
    STARTED,
    TOLD,
    frames,
    path,
    serving,
    text,
)
from tests.waiting import until


async def test_head_answers_without_a_body_and_without_a_reader() -> None:
    gate = asyncio.Event()
    async with serving(gate, DONE) as house:
        job = (await house.ask())["job_id"]
        answer = await house.client.head(path(job))
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.content == b""
        assert (house.streams.open, house.follow.open.total()) == (0, 0)
        assert (await house.client.head(path("nobody"))).status_code == 404
        gate.set()


@pytest.mark.parametrize("last", ["", "Last-Event-ID: 1-2\r\n"])
async def test_the_opening_waits_for_no_event_that_is_not_there_already(last: str) -> None:
    async with serving(STARTED, asyncio.Event()) as house:
        job = (await house.ask())["job_id"]
        await until(lambda: len(house.log._logs[job].records) == 2)
        request = f"GET {path(job)} HTTP/1.1\r\nHost: 127.0.0.1\r\n{last}\r\n"
        reader, writer = await house.raw(request)
        async with asyncio.timeout(5):
            await reader.readuntil(b"\r\n\r\n")
            chunk = await reader.readexactly(int(await reader.readline(), 16))
        opening = b"retry: 1000\n\n"
        assert chunk.startswith(opening)
        assert (chunk == opening) is bool(last)
        writer.close()


async def test_options_says_what_can_be_done() -> None:
    async with serving() as house:
        answer = await house.client.options(path("any"))
        assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD")


async def test_a_client_of_http_1_0_gets_the_bare_stream() -> None:
    async with serving(*TOLD) as house:
        job = await house.asked()
        reader, writer = await house.raw(f"GET {path(job)} HTTP/1.0\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0]
        assert b"transfer-encoding" not in head.lower()
        assert b"keep-alive" not in head.lower()
        assert text(frames(body)) == ANSWER
        writer.close()


async def test_a_client_of_http_1_0_gets_other_answers_whole() -> None:
    async with serving(*TOLD) as house:
        for request in ("GET /healthz", "HEAD /healthz", "GET /nowhere"):
            reader, writer = await house.raw(f"{request} HTTP/1.0\r\n\r\n")
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            length = int(httpx2.Headers(_fields(head))["content-length"])
            assert len(body) == (0 if request.startswith("HEAD") else length)
            writer.close()


def _fields(head: bytes) -> list[tuple[bytes, bytes]]:
    lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
    return [(name, value) for name, _, value in lines]


async def test_while_the_store_is_down_a_reader_is_told_to_come_back() -> None:
    async with serving(*TOLD) as house:
        job = await house.asked()
        house.log.failure = Unavailable("the address of the store")
        answer = await house.client.get(path(job))
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store, no-transform"
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["connection"] == "close"
        assert frames(answer.content) == []
        assert 1000 <= int(answer.text.removeprefix("retry: ")) <= 5000
        assert (await house.client.head(path(job))).status_code == 200


async def test_a_store_that_goes_down_in_mid_stream_ends_it_properly_with_a_retry() -> None:
    async with serving(*TOLD) as house:
        job = await house.asked()
        house.log.breaking = Unavailable("the address of the store")
        answer = await house.client.get(path(job))
        assert [frame.event for frame in frames(answer.content)] == ["stage"]
        assert 1000 <= int(answer.text.split("retry: ")[-1]) <= 5000


async def test_when_the_service_leaves_a_stream_ends_properly_with_a_jittered_retry() -> None:
    async with serving(STARTED, asyncio.Event()) as house:
        job = (await house.ask())["job_id"]
        endings = []
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(house.client.get(path(job))) for _ in range(10)]
            await until(lambda: house.streams.open == 10)
            house.log.hang_up()
        for reader in readers:
            first, *_, last = reader.result().text.removesuffix("\n\n").split("\n\n")
            assert first == "retry: 1000"
            endings.append(int(last.removeprefix("retry: ")))
        assert all(1000 <= ending <= 5000 for ending in endings)
        assert len(set(endings)) > 1
        late = await house.client.get(path(job))
        assert (late.status_code, late.text[:7]) == (200, "retry: ")


async def test_a_deleted_chats_stream_ends_properly() -> None:
    async with serving(STARTED, asyncio.Event()) as house:
        asked = await house.ask()
        reading = asyncio.create_task(house.read(asked["job_id"]))
        await until(lambda: house.streams.open)
        deleted = await house.client.delete(f"/api/v1/chat/{asked['chat_id']}")
        assert deleted.status_code == 204
        assert [event.event for event in await reading][-1] == "cancelled"
        assert (await house.client.get(path(asked["job_id"]))).status_code == 404


async def test_more_streams_than_a_user_may_have_are_refused_with_a_time_to_wait() -> None:
    async with serving(STARTED, asyncio.Event(), streams=1) as house:
        job = (await house.ask())["job_id"]
        async with house.client.stream("GET", path(job)) as first:
            await until(lambda: house.streams.open)
            second = await house.client.get(path(job))
            assert second.status_code == 429
            assert int(second.headers["retry-after"]) >= 1
            assert second.json()["code"] == "too_many_requests"
            assert first.status_code == 200
        await until(lambda: not house.streams.open)
        async with house.client.stream("GET", path(job)) as third:
            assert third.status_code == 200


@pytest.mark.parametrize("after", [b"", b"HTTP/1.1 200", b"retry", b"queued", b'progress":10'])
async def test_a_reader_may_leave_at_any_point_and_nothing_of_it_stays(after: bytes) -> None:
    before = set(asyncio.all_tasks())
    async with serving(STARTED, asyncio.Event()) as house:
        job = (await house.ask())["job_id"]
        reader, writer = await house.raw(f"GET {path(job)} HTTP/1.1\r\nHost: x\r\n\r\n")
        seen = b""
        while after not in seen:
            seen += await reader.read(16)
        writer.transport.abort()
        await until(lambda: not house.state.tasks)
        assert (house.streams.open, house.follow.open.total()) == (0, 0)
        assert (await house.log.read(job)).ended_at is None
    assert asyncio.all_tasks() == before


class RecordingBatches:
    """A reader of a log that remembers how often it was closed."""

    def __init__(self) -> None:
        self.closed = 0

    async def __anext__(self) -> Any:
        recorded = Recorded(Cursor(1, 1), STARTED)
        return Batch([recorded], frame(recorded), 1)

    async def aclose(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("breaks_at", [0, 1, 2, 3])
async def test_a_reader_of_the_log_is_closed_wherever_its_client_breaks(
    method: str, breaks_at: int
) -> None:
    batches, stats, sent = RecordingBatches(), StreamStats(), 0

    async def send(message: Any) -> None:
        nonlocal sent
        if sent == breaks_at:
            raise OSError("gone")
        sent += 1

    async def receive() -> Any:
        await asyncio.Event().wait()

    extensions = {PUSH: lambda _: False, ON_LEFT: lambda _: None}
    stream = NativeStream(batches, stats, ping=10, expires=None)  # type: ignore[arg-type]
    with suppress(OSError):
        scope = {"type": "http", "method": method, "extensions": extensions}
        await stream(scope, receive, send)
    assert (batches.closed, stats.open) == (1, 0)


@pytest.mark.parametrize("begins", [True, False])
async def test_the_first_event_leaves_with_the_opening_where_it_is_there_already(
    begins: bool,
) -> None:
    """A reader that waits for news gets the opening at once."""
    bodies: list[bytes] = []

    async def send(message: Any) -> None:
        bodies.append(message.get("body"))
        if len(bodies) == 3:
            raise OSError("gone")

    async def receive() -> Any:
        await asyncio.Event().wait()

    extensions = {PUSH: lambda _: False, RESET: lambda: None, ON_LEFT: lambda _: None}
    batches: Any = RecordingBatches()
    stream = NativeStream(batches, StreamStats(), ping=10, expires=None, begins=begins)
    with suppress(OSError):
        await stream({"type": "http", "method": "GET", "extensions": extensions}, receive, send)
    told, opening = frame(Recorded(Cursor(1, 1), STARTED)), NativeStream.opening
    assert bodies[1:] == ([opening + told, told] if begins else [opening, told])


def test_what_only_begins_with_a_cursor_is_none() -> None:
    assert cursor_of("1-1", "1-2") == Cursor(1, 1)
    for header in ("1-1X", "1-1 ", "1-1\x0b", "1-1\xa0"):
        assert cursor_of(header, "1-2") == Cursor(0, 0)


def test_keepalives_are_the_contracts_bytes() -> None:
    assert NativeStream.keepalive == KEEPALIVE == b"event: keepalive\ndata: {}\n\n"
