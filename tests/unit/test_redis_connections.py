"""Connections to Redis that the other side ends while they wait, on the loop that serves."""

import asyncio
import gc
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from sluice.infrastructure.redis.client import RedisClient, command, packed
from tests.waiting import until

PING = command(1, packed(b"PING"))
NOW = struct.pack("ii", 1, 0)


class Pongs:
    """Says PONG to each thing it is told, and can end all its connections."""

    def __init__(self) -> None:
        self.open: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.append(writer)
        while await reader.read(1000):
            writer.write(b"+PONG\r\n")
        writer.close()

    def end(self, how: str) -> None:
        for writer in self.open:
            if how == "reset":
                connection = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
            writer.transport.abort()
        self.open.clear()


@asynccontextmanager
async def pongs() -> AsyncIterator[tuple[Pongs, str]]:
    pongs = Pongs()
    async with await asyncio.start_server(pongs.serve, "127.0.0.1", 0) as server:
        try:
            yield pongs, f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        finally:
            pongs.end("closed")


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_a_connection_that_ended_while_it_waited_is_closed_and_made_anew(how: str) -> None:
    async with pongs() as (server, url):
        redis = RedisClient.at(url)
        line, before = redis.connection(), _descriptors()
        async with aclosing(redis), aclosing(line):
            assert (await redis.ask("PING"), await line.ask(PING, 1)) == (True, [b"PONG"])
            server.end(how)
            await until(lambda: _descriptors() == before)
            assert (await redis.ask("PING"), await line.ask(PING, 1)) == (True, [b"PONG"])


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_a_connection_that_ended_is_none_that_was_left_open(
    how: str, recwarn: pytest.WarningsRecorder
) -> None:
    async with pongs() as (server, url):
        redis = RedisClient.at(url)
        line, before = redis.connection(), _descriptors()
        async with aclosing(redis), aclosing(line):
            await redis.ask("PING")
            await line.ask(PING, 1)
            server.end(how)
            await until(lambda: _descriptors() == before)
    del redis, line
    gc.collect()
    assert [str(told.message) for told in recwarn] == []
