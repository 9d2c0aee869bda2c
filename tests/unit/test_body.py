"""An answer's bytes, from aiohttp's own reader or as httpx2 reads them: pushed, gathered, ended."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextvars import ContextVar
from math import inf
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import aiohttp
import aiohttp.base_protocol
import httpx2
import pytest
from aiohttp.helpers import TimerNoop

from sluice.application.short_deque import ShortDeque
from sluice.infrastructure.llm import body as module
from sluice.infrastructure.llm.body import Body, PushedBody, body_of, plain_body

place: ContextVar[str] = ContextVar("place", default="nowhere")


class Taking:
    """Takes bytes; wakes who waits at `b"!"`, and fails at `b"?"`."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.places: list[str] = []

    def __call__(self, data: bytes) -> bool:
        self.taken.append(data)
        self.places.append(place.get())
        if data == b"?":
            raise LookupError
        return data == b"!"


def a_reader(kind: type[aiohttp.StreamReader] = aiohttp.StreamReader) -> Any:
    loop = asyncio.get_running_loop()
    protocol = aiohttp.base_protocol.BaseProtocol(loop)
    return kind(protocol, 2**16, loop=loop)


class Pushed:
    """A body, its reader, and somebody who waits."""

    def __init__(self) -> None:
        self.reader = a_reader()
        self.body = PushedBody(self.reader)
        self.take = Taking()

    async def waits(self, seconds: float = inf) -> "asyncio.Task[bool]":
        waiting = asyncio.ensure_future(self.body.gather(self.take, seconds))
        await asyncio.sleep(0)
        return waiting


async def bounded(waiting: "asyncio.Task[bool]") -> bool:
    async with asyncio.timeout(5):
        return await waiting


async def test_bytes_are_taken_where_they_arrive_and_who_waits_is_woken_when_told() -> None:
    pushed = Pushed()
    waiting = await pushed.waits()
    for data in (b"a", b"b", b""):
        assert pushed.reader.feed_data(data) is False
    await asyncio.sleep(0)
    assert (pushed.take.taken, waiting.done()) == ([b"a", b"b"], False)
    pushed.reader.feed_data(b"!")
    pushed.reader.feed_data(b"c")
    assert await bounded(waiting)
    assert pushed.take.taken == [b"a", b"b", b"!"]
    assert await pushed.body.gather(pushed.take, inf)
    assert pushed.take.taken[-1] == b"c"


async def test_what_came_meanwhile_is_taken_at_once() -> None:
    pushed = Pushed()
    pushed.reader.feed_data(b"a")
    pushed.reader.feed_data(b"b")
    assert await pushed.body.gather(pushed.take, inf)
    assert b"".join(pushed.take.taken) == b"ab"


async def test_many_pieces_wait_in_a_deque_and_one_does_not_need_it() -> None:
    pushed = Pushed()
    waiting = await pushed.waits()
    pushed.reader.feed_data(b"!")
    await bounded(waiting)
    pushed.reader.feed_data(b"a")
    assert isinstance(pushed.reader._buffer, ShortDeque)
    for _ in range(3):
        pushed.reader.feed_data(b"b")
    assert isinstance(pushed.reader._buffer, deque)
    assert await pushed.body.gather(pushed.take, inf)
    assert pushed.take.taken == [b"!", b"abbb"]


async def test_a_body_that_has_ended_gives_nothing() -> None:
    pushed = Pushed()
    pushed.reader.feed_data(b"a")
    pushed.reader.feed_eof()
    assert await pushed.body.gather(pushed.take, inf)
    assert not await pushed.body.gather(pushed.take, inf)


async def test_an_end_or_a_break_wakes_who_waits() -> None:
    pushed = Pushed()
    waiting = await pushed.waits()
    pushed.reader.feed_eof()
    assert await bounded(waiting)
    assert not await pushed.body.gather(pushed.take, inf)
    pushed = Pushed()
    waiting = await pushed.waits()
    pushed.reader.set_exception(aiohttp.ClientError())
    with pytest.raises(aiohttp.ClientError):
        await bounded(waiting)


async def test_what_fails_where_it_is_taken_is_raised_where_it_is_waited_for() -> None:
    pushed = Pushed()
    waiting = await pushed.waits()
    pushed.reader.feed_data(b"?")
    pushed.reader.feed_data(b"a")
    with pytest.raises(LookupError):
        await bounded(waiting)
    assert pushed.take.taken == [b"?"]
    assert await pushed.body.read() == b"a"


async def test_a_wait_that_is_cancelled_takes_nothing_more() -> None:
    pushed = Pushed()
    waiting = await pushed.waits(9)
    pushed.reader.feed_data(b"a")
    waiting.cancel()
    await asyncio.wait([waiting])
    pushed.reader.feed_data(b"b")
    assert (pushed.take.taken, await pushed.body.read()) == ([b"a"], b"b")
    loop: Any = asyncio.get_running_loop()
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []


async def test_bytes_are_taken_in_the_context_of_who_waits() -> None:
    pushed = Pushed()
    place.set("the node")
    waiting = await pushed.waits()
    place.set("elsewhere")
    pushed.reader.feed_data(b"!")
    await bounded(waiting)
    assert pushed.take.places == ["the node"]


async def test_a_buffer_is_a_short_one_where_nothing_waits_in_it() -> None:
    pushed = Pushed()
    waiting = await pushed.waits()
    assert type(pushed.reader._buffer) is ShortDeque
    pushed.reader.feed_data(b"!")
    await bounded(waiting)
    reader = a_reader()
    reader.feed_data(b"a")
    assert await PushedBody(reader).read() == b"a"
    assert type(reader._buffer) is deque


class Clock:
    """The loop's time, as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._loop: Any = asyncio.get_running_loop()
        self._now = self._loop.time()
        monkeypatch.setattr(self._loop, "time", lambda: self._now)

    def passes(self, seconds: float) -> None:
        self._now += seconds

    @property
    def timers(self) -> list[float]:
        """In how many seconds each goes off."""
        left = [timer for timer in self._loop._scheduled if not timer.cancelled()]
        return [timer.when() - self._now for timer in left]


async def test_who_waits_is_woken_so_many_seconds_after_it_was_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, pushed = Clock(monkeypatch), Pushed()
    clock.passes(4)
    waiting = await pushed.waits(10)
    assert clock.timers == []
    pushed.reader.feed_data(b"a")
    clock.passes(1)
    pushed.reader.feed_data(b"b")
    assert clock.timers == [pytest.approx(5)]
    clock.passes(5)
    assert await bounded(waiting)
    assert (pushed.take.taken, clock.timers) == ([b"a", b"b"], [])
    waiting = await pushed.waits(10)
    clock.passes(10)
    pushed.reader.feed_data(b"c")
    pushed.reader.feed_data(b"d")
    assert await bounded(waiting), "at once: the time is over"
    assert (pushed.take.taken[-1], await pushed.body.read()) == (b"c", b"d")


async def test_who_waits_for_all_has_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, pushed = Clock(monkeypatch), Pushed()
    waiting = await pushed.waits(inf)
    pushed.reader.feed_data(b"a")
    clock.passes(1000)
    pushed.reader.feed_data(b"b")
    assert (clock.timers, waiting.done()) == ([], False)
    pushed.reader.feed_eof()
    assert await bounded(waiting)


async def test_the_reader_knows_a_future_that_may_be_done_twice() -> None:
    pushed = Pushed()
    waiting = await pushed.waits()
    future = pushed.reader._waiter
    assert not future.done()
    future.set_result(None)
    assert future.done()
    future.set_exception(LookupError())
    future.set_result(None)
    assert await bounded(waiting)


class CountingTimer(TimerNoop):
    entered = left = 0

    def __enter__(self) -> Any:
        self.entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.left += 1


async def test_the_readers_timer_bounds_each_wait() -> None:
    pushed = Pushed()
    pushed.reader._timer = timer = CountingTimer()
    waiting = await pushed.waits()
    assert (timer.entered, timer.left) == (1, 0)
    pushed.reader.feed_data(b"!")
    await bounded(waiting)
    assert (timer.entered, timer.left) == (1, 1)


async def test_ends_of_chunks_are_nobodys() -> None:
    pushed = Pushed()
    pushed.reader.begin_http_chunk_receiving()
    pushed.reader.feed_data(b"a")
    pushed.reader.end_http_chunk_receiving()
    assert await pushed.body.gather(pushed.take, inf)
    assert pushed.take.taken == [b"a"]


async def test_a_body_that_is_read_gives_each_read_and_then_nothing() -> None:
    reads = [b"a", b""]

    async def read() -> bytes:
        return reads.pop(0)

    body, take = Body(read), Taking()
    assert await body.gather(take, inf)
    assert not await body.gather(take, inf)
    assert take.taken == [b"a"]


def below(reader: Any, **headers: str) -> Any:
    """As the SDK's aiohttp transport answers."""
    answer = Mock(spec=aiohttp.ClientResponse, content=reader)
    response: Any = httpx2.Response(200, headers=headers)
    response.stream = SimpleNamespace(_stream=SimpleNamespace(_aiohttp_response=answer))
    return response


async def test_what_stands_below_is_used_where_its_bytes_are_the_bodys() -> None:
    reader = a_reader()
    assert plain_body(below(reader)) is reader
    unwrapped = below(reader)
    unwrapped.stream = unwrapped.stream._stream
    assert plain_body(unwrapped) is reader
    assert plain_body(below(reader, **{"content-encoding": "gzip"})) is None
    assert plain_body(httpx2.Response(200, content=b"a")) is None
    nameless: Any = httpx2.Response(200)
    nameless.stream = SimpleNamespace()
    assert plain_body(nameless) is None
    other = below(reader)
    other.stream._stream._aiohttp_response = SimpleNamespace(content=reader)
    assert plain_body(other) is None


class Other(aiohttp.StreamReader):
    """Of another make."""


async def test_aiohttps_reader_pushes_and_one_of_another_make_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = a_reader()
    async with body_of(below(reader)) as body:
        assert type(body) is PushedBody
        reader.feed_data(b"a")
        assert await body.read() == b"a"
    reader = a_reader(Other)
    async with body_of(below(reader)) as body:
        assert type(body) is Body
        reader.feed_data(b"a")
        assert await body.read() == b"a"
    monkeypatch.setattr(module, "_NEEDED", ("_waiter", "what_no_reader_has"))
    async with body_of(below(a_reader())) as body:
        assert type(body) is Body


async def test_else_a_body_is_read_as_httpx2_does_and_closed() -> None:
    closed: list[bool] = []

    async def parts() -> AsyncIterator[bytes]:
        try:
            yield b"a"
            yield b"b"
        finally:
            closed.append(True)

    async with body_of(httpx2.Response(200, content=parts())) as body:
        assert type(body) is Body
        assert [await body.read() for _ in range(3)] == [b"a", b"b", b""]
    assert closed == [True]
    response = httpx2.Response(200, content=parts())
    async with body_of(response) as body:
        assert await body.read() == b"a"
    assert closed == [True, True], "by whoever leaves it half read"
    await response.aclose()
