"""aiohttp's reader, which gives bytes on while somebody waits for them."""

import asyncio
from functools import partial
from math import inf
from typing import Any
from unittest.mock import MagicMock, call

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from pytest_mock import MockerFixture

from sluice.application.short_deque import ShortDeque
from sluice.infrastructure.llm.body import PushedBody


@pytest.fixture
async def content() -> aiohttp.StreamReader:
    handler = ResponseHandler(asyncio.get_running_loop())
    handler.set_response_params(read_until_eof=True, auto_decompress=False)
    handler.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n0\r\n")
    _, content = await handler.read()
    assert await content.readany() == b"0"
    return content


@pytest.fixture
async def body(content: aiohttp.StreamReader) -> PushedBody:
    return PushedBody(content)


class Taken(list[bytes]):
    """Takes bytes; `wake` is what ends a wait."""

    wake = b"!"

    def take(self, data: bytes) -> bool:
        if data == b"?":
            raise LookupError
        self.append(data)
        return data == self.wake


@pytest.fixture
def taken() -> Taken:
    return Taken()


async def waiting(body: PushedBody, taken: Taken, seconds: float = inf) -> asyncio.Task[bool]:
    waits = asyncio.create_task(body.gather(taken.take, seconds))
    await asyncio.sleep(0)
    return waits


async def test_what_waits_holds_no_deque_of_nothing(taken: Taken) -> None:
    """Though something was in it when the head came, as a model's role is."""
    handler = ResponseHandler(asyncio.get_running_loop())
    handler.set_response_params(read_until_eof=True, auto_decompress=False)
    handler.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n0\r\n")
    _, content = await handler.read()
    body = PushedBody(content)
    assert await body.gather(taken.take, inf)
    waits = await waiting(body, taken)
    holders: tuple[Any, ...] = (content, handler)
    assert [type(each._buffer) for each in holders] == [ShortDeque, ShortDeque]
    content.feed_data(b"!")
    assert await waits
    assert taken == [b"0", b"!"]


async def test_bytes_are_taken_where_they_arrive(
    body: PushedBody, content: aiohttp.StreamReader, taken: Taken
) -> None:
    waits = await waiting(body, taken)
    content.feed_data(b"a")
    content.feed_data(b"b")
    assert taken == [b"a", b"b"]
    content.feed_data(b"!")
    content.feed_data(b"later")
    assert await waits
    assert taken == [b"a", b"b", b"!"]
    assert await body.read() == b"later"


async def test_each_read_is_one_of_the_loops_arrivals(
    body: PushedBody, content: aiohttp.StreamReader, taken: Taken, mocker: MockerFixture
) -> None:
    """Whose rate is taken of so many, and no call is made for the others."""
    arrivals = body._arrivals
    look = mocker.patch.object(type(arrivals), "look")
    waits = await waiting(body, taken)
    arrivals.left = 3
    for data in (b"a", b"b"):
        content.feed_data(data)
    assert (arrivals.left, look.call_count) == (1, 0)
    content.feed_data(b"!")
    assert look.call_count == 1
    assert await waits


async def test_what_broke_before_a_wait_is_raised_by_it(
    body: PushedBody, content: aiohttp.StreamReader, taken: Taken
) -> None:
    content.set_exception(ConnectionResetError())
    async with asyncio.timeout(5):
        with pytest.raises(ConnectionResetError):
            await body.gather(taken.take, inf)


async def test_what_came_before_is_taken_first(
    body: PushedBody, content: aiohttp.StreamReader, taken: Taken
) -> None:
    content.feed_data(b"a")
    content.feed_data(b"b")
    assert await body.gather(taken.take, inf)
    assert taken == [b"ab"]


async def test_the_end_ends_a_wait_and_then_there_is_none(
    body: PushedBody, content: aiohttp.StreamReader, taken: Taken
) -> None:
    waits = await waiting(body, taken)
    content.feed_data(b"a")
    content.feed_eof()
    assert await waits
    assert not await body.gather(taken.take, inf)
    assert taken == [b"a"]


async def test_what_breaks_and_what_taking_raises_is_raised_in_the_wait(
    body: PushedBody, content: aiohttp.StreamReader, taken: Taken
) -> None:
    waits = await waiting(body, taken)
    content.feed_data(b"?")
    with pytest.raises(LookupError):
        await waits
    waits = await waiting(body, taken)
    content.set_exception(ConnectionResetError())
    with pytest.raises(ConnectionResetError):
        await waits


async def test_a_wait_ends_after_the_interval(
    body: PushedBody, content: aiohttp.StreamReader, taken: Taken
) -> None:
    body._last += 0.2  # however long it took to get here
    waits = await waiting(body, taken, 0.01)
    content.feed_data(b"a")
    content.feed_data(b"b")
    async with asyncio.timeout(5):
        assert await waits
    assert taken == [b"a", b"b"]


async def test_what_comes_late_is_not_kept_waiting(
    body: PushedBody, content: aiohttp.StreamReader, taken: Taken
) -> None:
    body._last -= 10
    waits = await waiting(body, taken, 9)
    content.feed_data(b"a")
    async with asyncio.timeout(1):
        assert await waits
    waits = await waiting(body, taken, 9)
    content.feed_data(b"b")
    await asyncio.sleep(0)
    assert not waits.done()
    waits.cancel()


async def test_of_a_wait_that_is_cancelled_nothing_is_left(
    body: PushedBody, content: aiohttp.StreamReader, taken: Taken
) -> None:
    waits = await waiting(body, taken, 9)
    content.feed_data(b"a")
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert body._timer is not None
    assert body._timer.cancelled()
    content.feed_data(b"b")
    assert taken == [b"a"]
    assert await body.read() == b"b"


async def test_chunks_of_any_number_stop_no_connection(
    body: PushedBody, content: aiohttp.StreamReader
) -> None:
    for _ in range(100_000):
        content.begin_http_chunk_receiving()
        content.end_http_chunk_receiving()
    assert not content._protocol._reading_paused
    assert content._http_chunk_splits is None


class Paused(Taken):
    """Takes bytes of which nobody is told, and of which the first came long ago, or now."""

    def __init__(self, body: PushedBody, since: float | None = -inf) -> None:
        self.body, self.seconds = body, 5
        if since is not None:
            body._unheard_since = since

    def take(self, data: bytes) -> bool:
        wake = super().take(data)
        self.body.pause_reading(self.seconds)
        return wake


@pytest.fixture
def transport(content: aiohttp.StreamReader) -> MagicMock:
    content._protocol.transport = MagicMock()
    return content._protocol.transport


async def test_what_comes_with_the_read_that_began_a_pause_is_taken_together(
    body: PushedBody, content: aiohttp.StreamReader, transport: MagicMock
) -> None:
    taken = Paused(body)
    waits = await waiting(body, taken)
    for each in (b"a", b"b", b"c"):
        content.feed_data(each)
    assert taken == [b"a"]
    await asyncio.sleep(0)
    assert taken == [b"a", b"bc"]
    assert transport.method_calls == [call.pause_reading()]
    content.feed_eof()
    assert await waits
    assert not body._resume
    assert transport.method_calls[1] == call.resume_reading()


async def test_what_comes_alone_behind_a_pause_is_taken_too(
    body: PushedBody, content: aiohttp.StreamReader, transport: MagicMock
) -> None:
    taken = Paused(body)
    waits = await waiting(body, taken)
    for each in (b"a", b"b"):
        content.feed_data(each)
    await asyncio.sleep(0)
    assert taken == [b"a", b"b"]
    content.feed_eof()
    assert await waits


async def test_an_answers_first_seconds_are_taken_as_they_come_and_then_it_pauses_by_the_clock(
    body: PushedBody,
    content: aiohttp.StreamReader,
    transport: MagicMock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop: Any = asyncio.get_running_loop()
    clock = [1007.0]
    monkeypatch.setattr(loop, "time", lambda: clock[0])
    taken = Paused(body, None)
    waits = await waiting(body, taken)
    for passed in (0, 4.9):
        clock[0] = 1007 + passed
        content.feed_data(b"a")
    assert transport.method_calls == []
    clock[0] = 1012
    content.feed_data(b"a")
    assert transport.method_calls == [call.pause_reading()]
    clock[0] = 1014.9
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert transport.method_calls == [call.pause_reading()]
    clock[0] = 1015
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert transport.method_calls == [call.pause_reading(), call.resume_reading()]
    waits.cancel()


async def test_what_was_read_before_anybody_waited_begins_no_pause(
    body: PushedBody, content: aiohttp.StreamReader, transport: MagicMock
) -> None:
    content.feed_data(b"a")
    assert await body.gather(Paused(body).take, inf)
    assert not transport.pause_reading.called


async def test_a_connection_that_is_lost_is_not_stopped(
    body: PushedBody, content: aiohttp.StreamReader
) -> None:
    assert content._protocol.transport is None
    taken = Paused(body)
    waits = await waiting(body, taken)
    content.feed_data(b"a")
    content.feed_data(b"!")
    assert await waits
    assert (taken, body._resume) == ([b"a", b"!"], None)


async def test_what_was_gathered_is_taken_before_an_end_a_break_and_a_turn(
    body: PushedBody, content: aiohttp.StreamReader, transport: MagicMock
) -> None:
    taken = Paused(body)
    for end in (content.feed_eof, partial(content.set_exception, ConnectionResetError())):
        waits = await waiting(body, taken)
        content.feed_data(b"a")
        content.feed_data(b"b")
        end()
        assert taken == [b"a", b"b"]
        if end == content.feed_eof:
            assert await waits
            content._eof = False
        taken.clear()
    with pytest.raises(ConnectionResetError):
        await waits


async def test_a_pause_that_would_outlast_a_timeout_of_the_users_is_none(
    body: PushedBody, content: aiohttp.StreamReader, transport: MagicMock
) -> None:
    connection: Any = content._protocol
    for timeout in (None, 9.0, 10.0, 11.0):
        connection.read_timeout = timeout
        waits = await waiting(body, Paused(body))
        content.feed_data(b"a")
        assert (body._resume is None) is (timeout in (9, 10))
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits


async def test_what_aiohttp_stopped_itself_is_aiohttps_to_go_on_with(
    body: PushedBody, content: aiohttp.StreamReader, transport: MagicMock
) -> None:
    waits = await waiting(body, Paused(body))
    content.feed_data(b"a")
    content._protocol._reading_paused = True
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert transport.method_calls == [call.pause_reading()]


async def test_a_connection_of_another_make_is_not_stopped(
    body: PushedBody, content: aiohttp.StreamReader
) -> None:
    class Other:
        transport = MagicMock()

    content._protocol = Other()  # type: ignore[assignment]
    waits = await waiting(body, Paused(body))
    content.feed_data(b"a")
    content.feed_data(b"!")
    assert await waits
    assert (body._resume, Other.transport.method_calls) == (None, [])
