"""The SDK's stream classes with another reading of their body; everything else is the SDK's.

A class is made for each call, in the place of the one the SDK would use: nothing is wrapped,
`isinstance(x, AsyncStream)` holds, and a raw response carries the class to its late `.parse()`.
It must be a direct subclass of `AsyncStream[Chunk]`: the SDK reads the type of chunks off it.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from types import new_class
from typing import Any

import openai

from sluice.application.model_calls import NodeRun
from sluice.infrastructure.llm.upstream import plain_body

from .answers import StreamedAnswer, UserCall
from .timeouts import IdleCheck, Read, TimedReads, Timeouts, broken_body, of_the_sdk

_DRAIN_SECONDS = 0.1
"""As the SDK: how long after its last event a body may take to end, for the connection's sake."""


def stream_class(theirs: Any, call: UserCall, timeouts: Timeouts, node: NodeRun) -> Any:
    """`theirs` is what the SDK would read with: `AsyncStream[Chunk]` or `Stream[Chunk]`."""
    origin = getattr(theirs, "__origin__", theirs)

    def read(self: Any) -> AsyncIterator[Any]:
        return _read(self, StreamedAnswer(call, self), TimedReads(timeouts))

    async def close(self: Any) -> None:
        with suppress(RuntimeError):  # it is being read in another task
            await self._iterator.aclose()
        await self.response.aclose()
        call.end(None, None)  # of a stream that nobody has read
        call.close()

    def read_sync(self: Any) -> Iterator[Any]:
        return _read_sync(self, StreamedAnswer(call, self), timeouts, node)

    def close_sync(self: Any) -> None:
        with suppress(ValueError):  # it is being read in another thread
            self._iterator.close()
        self.response.close()
        call.end(None, None)
        call.close()

    ours: dict[str, Any] = {"__stream__": read, "close": close}
    if not issubclass(origin, openai.AsyncStream):
        ours = {"__stream__": read_sync, "close": close_sync}
    ours["__module__"] = origin.__module__
    return new_class(origin.__name__, (theirs,), exec_body=lambda names: names.update(ours))


async def _read(
    stream: Any, answer: StreamedAnswer, reads: TimedReads
) -> AsyncGenerator[Any, None]:
    response, failed = stream.response, None
    try:
        async with _reads_of(response) as read:
            while data := await reads.next(read, answer, response.request):
                for chunk in answer.feed(data):
                    yield chunk
                if answer.done:
                    await _drained(read)
                    break
                reads.hear(answer)
        for chunk in answer.end():
            yield chunk
    except Exception as error:
        failed = error
        raise
    finally:
        answer.close(failed)
        reads.close()
        await response.aclose()


@asynccontextmanager
async def _reads_of(response: Any) -> AsyncGenerator[Read, None]:
    """Straight from aiohttp where there is nothing to decode, else as the SDK reads."""
    if (body := plain_body(response)) is not None:
        yield body.readany
        return
    async with aclosing(response.aiter_bytes()) as reads:
        yield lambda: anext(reads, b"")


async def _drained(read: Read) -> None:
    with suppress(TimeoutError, *broken_body()):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while await read():
                pass


def _read_sync(
    stream: Any, answer: StreamedAnswer, timeouts: Timeouts, node: NodeRun
) -> Iterator[Any]:
    response, failed = stream.response, None
    idle = IdleCheck(timeouts)
    try:
        with _stoppable(response, node):
            try:
                for data in response.iter_bytes():
                    yield from answer.feed(data)
                    if answer.done:
                        break
                    idle.check(answer, response.request)
            except broken_body() as failure:
                if not answer.finished:
                    raise of_the_sdk(failure, response.request) from failure
            yield from answer.end()
    except Exception as error:
        failed = error
        raise
    finally:
        answer.close(failed)
        response.close()


@contextmanager
def _stoppable(response: Any, node: NodeRun) -> Iterator[None]:
    """While its body is read: a thread cannot be cancelled, but its connection can be shut."""
    network = response.extensions.get("network_stream")

    def stop() -> None:
        raw = network.get_extra_info("socket") if network is not None else None
        if isinstance(raw, socket.socket):
            with suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)

    node.open.add(stop)
    try:
        yield
    finally:
        node.open.discard(stop)
