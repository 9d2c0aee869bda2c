"""Tokens that reach a waiting reader from where they are published, past its task."""

import asyncio
import gc
import random
import weakref
from collections.abc import Sequence

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from sluice.domain.events import Done, Event, Token
from sluice.interfaces.http.server import frame_writer
from sluice.interfaces.http.server.frame_writer import FrameWriter
from tests.http.house import Frame, House, frames, path, serving, text
from tests.http.test_connections import stalled_reader
from tests.waiting import until

TOKENS = [Token(f"{number} 조각\r\n\r\n", "answer") for number in range(20)]
ANSWER = "".join(token.content for token in TOKENS)
_MOMENT = 0.003
"""Seconds, more than what comes together is joined within."""


class Gate(asyncio.Event):
    """Opens by itself, a moment after a pipeline has come to it."""

    async def wait(self) -> bool:  # type: ignore[override]
        await asyncio.sleep(_MOMENT)
        return True


def one_by_one(tokens: Sequence[Token]) -> list[Event | asyncio.Event]:
    return [play for token in tokens for play in (Gate(), token)]


async def read(house: House, first: asyncio.Event) -> list[Frame]:
    """A stream whose reader waits when the first token comes."""
    job = (await house.ask())["job_id"]
    reading = asyncio.create_task(house.read(job))
    await until(lambda: house.log.awaited)
    first.set()
    return await reading


def assert_whole(seen: Sequence[Frame]) -> None:
    assert text(seen) == ANSWER
    ids = [int((frame.id or "").split("-")[1]) for frame in seen]
    assert ids == sorted(set(ids))
    assert [frame.event for frame in seen][-1] == "done"


async def ended(house: House, job: str) -> str:
    shown = {"status": "running"}
    while shown["status"] in ("queued", "running"):
        shown = (await house.client.get(f"/api/v1/jobs/{job}")).json()
    return shown["status"]


async def test_tokens_that_come_one_by_one_are_written_in_line(taken: list[bool]) -> None:
    first = asyncio.Event()
    async with serving(first, *one_by_one(TOKENS), Done("A2", "")) as house:
        seen = await read(house, first)
    assert_whole(seen)
    assert taken == [True] * len(TOKENS)
    assert [frame.event for frame in seen].count("token") == len(TOKENS)


async def test_tokens_that_come_together_are_joined(
    taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        frame_writer, "_MIN_INTERVAL_SECONDS", 10
    )  # however slow the machine, they are together
    first = asyncio.Event()
    async with serving(first, *TOKENS, Done("A2", "")) as house:
        seen = await read(house, first)
    assert_whole(seen)
    assert taken == [True, False]
    assert [frame.event for frame in seen].count("token") == 2


async def test_past_a_connection_that_takes_none_they_go_by_the_readers_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FrameWriter, "__call__", lambda _writer, _body: False)
    first = asyncio.Event()
    async with serving(first, *one_by_one(TOKENS), Done("A2", "")) as house:
        assert_whole(await read(house, first))


async def test_a_client_of_http_1_0_gets_them_without_chunks(taken: list[bool]) -> None:
    """As nginx asks, unless it is told otherwise."""
    first = asyncio.Event()
    async with serving(first, *one_by_one(TOKENS), Done("A2", "")) as house:
        job = (await house.ask())["job_id"]
        reader, writer = await house.raw(f"GET {path(job)} HTTP/1.0\r\n\r\n")
        await until(lambda: house.log.awaited)
        first.set()
        _, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert_whole(frames(body))
        writer.close()
    assert taken == [True] * len(TOKENS)


async def test_a_reader_that_does_not_read_is_not_written_to(taken: list[bool]) -> None:
    """What it does not take stays in the log, and not once more in its connection."""
    large = [Token("x" * 16_000, "answer") for _ in range(60)]
    first = asyncio.Event()
    async with serving(first, *one_by_one(large), Done("A2", "")) as house:
        job = (await house.ask())["job_id"]
        request = f"GET {path(job)} HTTP/1.1\r\nHost: x\r\n\r\n"
        async with stalled_reader(house, request):
            await until(lambda: house.streams.open)
            first.set()
            await ended(house, job)
            held = [each.transport.get_write_buffer_size() for each in house.state.connections]
            assert 0 < max(held) < 200_000 < 16_000 * len(large)
    assert taken.count(True) < 20


@pytest.mark.parametrize("turns", range(6))
async def test_a_reader_that_has_just_gone_harms_no_job(turns: int, taken: list[bool]) -> None:
    """Its connection is closed, and its task does not know yet."""
    first = asyncio.Event()
    async with serving(first, *TOKENS, Done("A2", "")) as house:
        job = (await house.ask())["job_id"]
        before = set(house.state.connections)
        _, writer = await house.raw(f"GET {path(job)} HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: house.log.awaited)
        (gone,) = house.state.connections - before
        gone.transport.abort()
        for _ in range(turns):
            await asyncio.sleep(0)
        first.set()
        assert await ended(house, job) == "completed"
        writer.close()
    assert True not in taken


async def test_a_request_leaves_nothing_for_the_collector(
    cycles: list[weakref.ref[RequestResponseCycle]],
) -> None:
    async with serving(Done("A2", "")) as house:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                reader, writer = await house.raw("GET /healthz HTTP/1.0\r\n\r\n")
                await reader.read()
                writer.close()
            await until(lambda: not house.state.connections)
            assert [cycle() for cycle in cycles] == [None] * 3
        finally:
            gc.enable()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("ping", [0.002, 10])
async def test_a_slow_reader_gets_every_part_and_nothing_behind_the_end(
    version: str, ping: float
) -> None:
    """Its parts and the keepalives wait for the same room."""
    sizes = random.Random(5)
    tokens = [Token("z" * sizes.choice([10, 3000, 15_000]), "answer") for _ in range(200)]
    answer = "".join(token.content for token in tokens)
    first = asyncio.Event()
    async with serving(first, *one_by_one(tokens), Done("A2", answer), ping=ping) as house:
        job = (await house.ask())["job_id"]
        head = f"GET {path(job)} HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n"
        async with stalled_reader(house, head) as stalled:
            await until(lambda: house.streams.open)
            first.set()
            loop, got = asyncio.get_running_loop(), bytearray()
            while piece := await loop.sock_recv(stalled, sizes.choice([1000, 65_536, 300_000])):
                got += piece
                await asyncio.sleep(sizes.choice([0, 0, 0, 0.01]))
    _, _, body = bytes(got).partition(b"\r\n\r\n")
    seen = frames(unchunked(body) if version == "1.1" else body)
    assert text(seen) == answer == seen[-1].data["answer"]


def unchunked(body: bytes) -> bytes:
    assert body.endswith(b"\r\n0\r\n\r\n")
    parts = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        parts.append(rest[: int(size, 16)])
        assert rest[len(parts[-1]) :].startswith(b"\r\n")
        body = rest[len(parts[-1]) + 2 :]
    return b"".join(parts)
