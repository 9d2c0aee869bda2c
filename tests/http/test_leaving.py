"""Readers that leave while they, or somebody before them, still sent something; what they leave."""

import asyncio
import gc
import logging
import weakref
from typing import Any

import pytest

from sluice.domain.events import Done
from sluice.interfaces.protocols.native.reading import NativeStream
from tests.http.house import House, path, serving
from tests.waiting import until

BODY = 200_000
"""More than is read of a request that nobody reads."""


async def opened(house: House, request: str) -> asyncio.StreamWriter:
    """Whose stream has begun."""
    reader, writer = await house.raw(request)
    await reader.readuntil(b"queued")
    return writer


async def gone(house: House) -> None:
    await until(lambda: not house.state.tasks)
    assert (house.streams.open, house.follow.open.total()) == (0, 0)


@pytest.mark.parametrize("sent", [0, BODY // 2, BODY])
async def test_a_reader_with_a_body_that_nobody_reads_is_seen_to_leave(sent: int) -> None:
    async with serving(asyncio.Event()) as house:
        job = (await house.ask())["job_id"]
        head = f"GET {path(job)} HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY}\r\n\r\n"
        writer = await opened(house, head)
        writer.write(b"x" * sent)
        await writer.drain()
        writer.transport.abort()
        await gone(house)


async def test_a_reader_that_has_asked_for_more_behind_its_stream_is_seen_to_leave(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Of two requests the server keeps the second at hand."""
    async with serving(asyncio.Event()) as house:
        job = (await house.ask())["job_id"]
        head = f"GET {path(job)} HTTP/1.1\r\nHost: x\r\n\r\n"
        writer = await opened(house, head + "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        writer.transport.abort()
        await gone(house)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_reader_that_comes_with_many_leaves_by_itself() -> None:
    async with serving(asyncio.Event()) as house:
        job = (await house.ask())["job_id"]
        head = f"GET {path(job)} HTTP/1.1\r\nHost: x\r\n\r\n"
        writers = [await opened(house, head) for _ in range(3)]
        assert house.streams.open == 3
        writers[1].transport.abort()
        await until(lambda: house.streams.open == 2)
        writers[0].transport.abort()
        writers[2].transport.abort()
        await gone(house)


async def test_a_stream_leaves_nothing_for_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    streams: list[weakref.ref[NativeStream]] = []
    init = NativeStream.__init__

    def remembered(stream: NativeStream, *given: Any, **named: Any) -> None:
        init(stream, *given, **named)
        streams.append(weakref.ref(stream))

    monkeypatch.setattr(NativeStream, "__init__", remembered)
    async with serving(Done("A2", "")) as house:
        job = await house.asked()
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                reader, writer = await house.raw(f"GET {path(job)} HTTP/1.1\r\nHost: x\r\n\r\n")
                await reader.read()
                writer.close()
            await until(lambda: not house.state.connections)
            assert [stream() for stream in streams[1:]] == [None] * 3
        finally:
            gc.enable()
