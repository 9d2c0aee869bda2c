"""aiohttp's reader, which gives bytes on while somebody waits for them."""

import asyncio
from math import inf

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

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
