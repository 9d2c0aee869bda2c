"""The SDK's stream classes with another reading of their body; everything else is the SDK's.

A class is made for each call that the SDK sends, in the place of the one it would use: nothing is
wrapped, `isinstance(x, AsyncStream)` holds, and a raw response carries the class to its late
`.parse()`.
It must be a direct subclass of `AsyncStream[Chunk]`: the SDK reads the type of chunks off it.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from math import inf
from types import new_class
from typing import Any, NamedTuple, get_args

import openai

from sluice.application.model_calls import NodeRun
from sluice.infrastructure.llm.body import Body, body_of

from .answers import StreamedAnswer, UserCall
from .timeouts import IdleCheck, TimedReads, Timeouts, broken_body, of_the_sdk

_DRAIN_SECONDS = 0.1
"""As the SDK: how long after its last event a body may take to end, for the connection's sake."""


class Reading(NamedTuple):
    """What a stream of ours is read for."""

    call: UserCall
    timeouts: Timeouts
    node: NodeRun

    def closed(self) -> None:
        self.call.end(None, None)  # of a stream that nobody has read
        self.call.close()


def stream_class(theirs: Any, reading: Reading) -> Any:
    """For the SDK, in place of `theirs`: `AsyncStream[Chunk]` or `Stream[Chunk]`."""
    return _class_of(theirs, reading=reading)


def stream_of(theirs: Any, reading: Reading, response: Any, client: Any, options: Any) -> Any:
    """What the SDK would make with a `stream_class` of `AsyncStream[Chunk]`."""
    kind = _async_class_of(theirs)
    stream = kind.__new__(kind)
    stream.reading = reading
    [chunk] = get_args(theirs)
    stream.__init__(cast_to=chunk, response=response, client=client, options=options)
    return stream


@cache
def _async_class_of(theirs: Any) -> Any:
    return _class_of(theirs)


def _class_of(theirs: Any, **more: Any) -> Any:
    origin = getattr(theirs, "__origin__", theirs)
    ours = _ASYNC if issubclass(origin, openai.AsyncStream) else _SYNC
    names = {**ours, **more, "__module__": origin.__module__}
    return new_class(origin.__name__, (theirs,), exec_body=lambda body: body.update(names))


def _stream(self: Any) -> AsyncIterator[Any]:
    call, timeouts, _ = self.reading
    return _read(self, StreamedAnswer(call, self), TimedReads(timeouts))


async def _close(self: Any) -> None:
    with suppress(RuntimeError):  # it is being read in another task
        await self._iterator.aclose()
    await self.response.aclose()
    self.reading.closed()


def _stream_sync(self: Any) -> Iterator[Any]:
    call, timeouts, node = self.reading
    return _read_sync(self, StreamedAnswer(call, self), timeouts, node)


def _close_sync(self: Any) -> None:
    with suppress(ValueError):  # it is being read in another thread
        self._iterator.close()
    self.response.close()
    self.reading.closed()


_ASYNC = {"__stream__": _stream, "close": _close}
_SYNC = {"__stream__": _stream_sync, "close": _close_sync}


async def _read(
    stream: Any, answer: StreamedAnswer, reads: TimedReads
) -> AsyncGenerator[Any, None]:
    response, failed = stream.response, None
    try:
        async with body_of(response) as body:
            if answer.joins:
                for chunk in await _gathered(body, answer, reads, response.request):
                    yield chunk
            else:
                while data := await reads.next(body.read, answer, response.request):
                    for chunk in answer.feed(data):
                        yield chunk
                    if answer.done:
                        break
                    reads.hear(answer)
            if answer.done:
                await _drained(body)
        for chunk in answer.end():
            yield chunk
    except Exception as error:
        failed = error
        raise
    finally:
        answer.close(failed)
        reads.close()
        await response.aclose()


async def _gathered(
    body: Body, answer: StreamedAnswer, reads: TimedReads, request: Any
) -> list[Any]:
    """The whole answer's, whose reader shows none before the end: it is not woken until then."""
    chunks: list[Any] = []
    pause = answer.pause if reads.may_pause(answer.pause) else 0

    def take(data: bytes) -> bool:
        before = answer.said
        chunks.extend(answer.take(data))
        reads.hear(answer)
        if pause and answer.said > before and not answer.finished:
            body.pause_reading(pause)
        return answer.done

    while not answer.done and await reads.next(lambda: body.gather(take, inf), answer, request):
        pass
    return chunks


async def _drained(body: Body) -> None:
    with suppress(*broken_body()):  # TimeoutError is an OSError
        async with asyncio.timeout(_DRAIN_SECONDS):
            while await body.read():
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
                if not answer.over:
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
