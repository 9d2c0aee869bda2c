"""The SDK's stream classes with our reading: what is told, when it ends, and that it is closed."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import nullcontext
from math import inf
from typing import Any

import aiohttp
import aiohttp.base_protocol
import httpx2
import openai
import pytest
from openai import AsyncOpenAI, AsyncStream, OpenAI, Stream
from openai._models import FinalRequestOptions
from openai.types.chat import ChatCompletionChunk

from sluice.application.heard_calls import CountedCall, HeardCall
from sluice.application.model_calls import ModelCalls, NodeRun
from sluice.infrastructure.llm import body
from sluice.infrastructure.openai_sdk import streams
from sluice.infrastructure.openai_sdk.answers import UserCall
from sluice.infrastructure.openai_sdk.chunks import Chunks, OneText
from sluice.infrastructure.openai_sdk.failures import CutAnswer
from sluice.infrastructure.openai_sdk.timeouts import Timeouts
from tests.doubles import RecordingSpan, RecordingTeller

pytestmark = pytest.mark.usefixtures("no_settings")

REQUEST = httpx2.Request("POST", "http://x")


def event(delta: Any, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    given = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps({**given, "choices": [choice]}).encode() + b"\n\n"


A, B, STOP = event({"content": "a"}), event({"content": "b"}), event({}, "stop")
DONE = b"data: [DONE]\n\n"
Play = bytes | float | Exception | Callable[[], object]


class Body(httpx2.AsyncByteStream, httpx2.SyncByteStream):
    """Gives bytes, waits for seconds, calls, and raises what is an exception."""

    def __init__(self, *plays: Play) -> None:
        self.plays, self.left, self.closed = plays, list(plays), 0

    def _next(self, play: Play) -> bytes:
        self.left.pop(0)
        if isinstance(play, Exception):
            raise play
        if callable(play):
            play()
        return play if isinstance(play, bytes) else b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for play in self.plays:
            if isinstance(play, float):
                await asyncio.sleep(play)
            yield self._next(play)

    def __iter__(self) -> Iterator[bytes]:
        yield from map(self._next, self.plays)

    async def aclose(self) -> None:
        self.closed += 1

    def close(self) -> None:
        self.closed += 1


class Streamed:
    """One call's stream, over a body."""

    def __init__(
        self,
        *plays: Play,
        sync: bool = False,
        timeouts: Timeouts | None = None,
        chunks: type[Chunks] = Chunks,
        extensions: dict[str, Any] | None = None,
        call: Mapping[str, Any] | None = None,
    ) -> None:
        self.teller, self.body = RecordingTeller(), Body(*plays)
        self.node = NodeRun(ModelCalls(), "a", speaks=True)
        made = {"teller": self.teller, "chunks": chunks, "piece_interval": 2, **(call or {})}
        theirs: Any = Stream[ChatCompletionChunk] if sync else AsyncStream[ChatCompletionChunk]
        made_call = UserCall(responses=False, **made)
        reading = streams.Reading(made_call, timeouts or Timeouts(), self.node)
        kind = streams.stream_class(theirs, reading)
        client = OpenAI(api_key="x") if sync else AsyncOpenAI(api_key="x")
        self.response = httpx2.Response(
            200,
            headers={"content-type": "text/event-stream"},
            stream=self.body,
            request=REQUEST,
            extensions=extensions,
        )
        self.stream = kind(cast_to=ChatCompletionChunk, response=self.response, client=client)

    async def read(self) -> list[Any]:
        async with asyncio.timeout(5):
            return [chunk async for chunk in self.stream]


async def test_a_stream_of_a_response_is_what_the_sdk_would_make() -> None:
    streamed, theirs = Streamed(A, STOP), AsyncStream[ChatCompletionChunk]
    reading, response = type(streamed.stream).reading, streamed.response
    client, options = (
        AsyncOpenAI(api_key="x"),
        FinalRequestOptions.construct(method="post", url="/"),
    )
    stream = streams.stream_of(theirs, reading, response, client, options)
    assert type(stream) is type(streams.stream_of(theirs, reading, response, client, options))
    assert issubclass(type(stream), AsyncStream)
    assert (stream.reading, stream.response, stream._client) == (reading, response, client)
    assert (stream._cast_to, stream._options) == (ChatCompletionChunk, options)
    assert len([chunk async for chunk in stream]) == 2
    assert streamed.teller.ends == [(None, "stop")]


@pytest.mark.parametrize("sync", [True, False])
@pytest.mark.parametrize(
    ("last", "told"),
    [(STOP, ["over"]), (httpx2.ReadTimeout("x"), ["upstream_timeout", "over"])],
)
async def test_a_tracer_is_told_by_what_a_stream_failed(
    last: Play, told: list[str], sync: bool
) -> None:
    span = RecordingSpan()
    streamed = Streamed(A, last, sync=sync, call={"span": span})
    failure: Any = nullcontext() if last is STOP else pytest.raises(openai.APITimeoutError)
    with failure:
        _ = list(streamed.stream) if sync else await streamed.read()
    assert span.told == told


@pytest.mark.parametrize("sync", [True, False])
async def test_what_was_held_back_comes_behind_the_end_that_is_said(sync: bool) -> None:
    streamed = Streamed(A, B, STOP, DONE, sync=sync, chunks=OneText)
    [joined] = list(streamed.stream) if sync else await streamed.read()
    assert joined["choices"][0]["delta"]["content"] == "ab"


async def test_a_joined_answer_that_breaks_fails_unless_it_was_finished() -> None:
    broken = httpx2.ReadError("x")
    with pytest.raises(openai.APIConnectionError) as raised:
        await Streamed(A, broken, chunks=OneText).read()
    assert (raised.value.request, raised.value.__cause__) == (REQUEST, broken)
    [joined] = await Streamed(A, STOP, broken, chunks=OneText).read()
    assert joined["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("sync", [True, False])
async def test_a_finish_reason_in_every_chunk_proves_no_end_of_a_body_that_breaks(
    sync: bool,
) -> None:
    both, broken = event({"content": "a"}, "stop"), httpx2.ReadError("x")

    async def read(*plays: Play) -> list[Any]:
        streamed = Streamed(*plays, sync=sync)
        return list(streamed.stream) if sync else await streamed.read()

    with pytest.raises(openai.APIConnectionError):
        await read(both, both, broken)
    assert len(await read(both, both, STOP, broken)) == 3
    assert len(await read(both, broken)) == 1, "so far it may be its only chunk"


def test_a_class_is_the_sdks_in_all_but_its_reading() -> None:
    for sync, base in ((False, AsyncStream), (True, Stream)):
        kind = type(Streamed(sync=sync).stream)
        assert issubclass(kind, base)
        assert (kind.__name__, kind.__module__) == (base.__name__, base.__module__)
        assert openai._streaming.extract_stream_chunk_type(kind) is ChatCompletionChunk
    nobodys: Any = None
    plain = streams.stream_class(AsyncStream, streams.Reading(nobodys, Timeouts(), nobodys))
    assert plain.__bases__ == (AsyncStream,)


async def test_each_chunk_is_told_and_the_end_closes_all() -> None:
    streamed = Streamed(A, B, STOP)
    first = await anext(streamed.stream)
    assert (type(first), streamed.teller.said) == (ChatCompletionChunk, ["a"])
    assert len(await streamed.read()) == 2
    assert streamed.teller.said == ["a", "b"]
    assert streamed.teller.ends == [(None, "stop")]
    assert streamed.response.is_closed


async def test_behind_the_end_that_is_said_the_body_is_read_to_its_own() -> None:
    streamed = Streamed(A, STOP, DONE, b": bye\n\n", B)
    assert len(await streamed.read()) == 2
    assert (streamed.body.left, streamed.teller.said) == ([], ["a"])


@pytest.mark.parametrize("rest", [100.0, aiohttp.ClientError(), httpx2.ReadError("x")])
async def test_a_body_that_does_not_end_costs_nothing(rest: Play) -> None:
    streamed = Streamed(A, STOP, DONE, rest)
    assert len(await streamed.read()) == 2
    assert streamed.teller.ends == [(None, "stop")]


async def test_what_was_held_back_comes_at_the_end() -> None:
    streamed = Streamed(A, chunks=OneText)
    held: Any = await anext(streamed.stream)
    assert held["choices"][0]["delta"]["content"] == "a"
    with pytest.raises(CutAnswer):
        await anext(streamed.stream)
    assert streamed.teller.ends == [(None, None)]


async def test_a_broken_body_is_the_sdks_error_with_its_request() -> None:
    streamed = Streamed(A, httpx2.ReadError("x"))
    with pytest.raises(openai.APIConnectionError) as raised:
        await streamed.read()
    assert raised.value.request is REQUEST
    assert streamed.teller.ends == [(None, None)]
    assert streamed.response.is_closed


async def test_once_something_was_said_the_idle_deadline_holds() -> None:
    streamed = Streamed(A, B, 100.0, timeouts=Timeouts(first_token=30, idle=0.1))
    with pytest.raises(openai.APITimeoutError) as raised:
        await streamed.read()
    assert streamed.teller.said == ["a", "b"]
    assert raised.value.request is REQUEST


async def test_a_read_stream_leaves_no_timer() -> None:
    loop: Any = asyncio.get_running_loop()
    await Streamed(A, STOP, timeouts=Timeouts(first_token=1000, idle=1000)).read()
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []


async def test_a_stream_that_nobody_reads_is_closed_and_counted() -> None:
    streamed = Streamed(A, STOP)
    await streamed.stream.close()
    assert streamed.teller.ends == [(None, None)]
    assert streamed.response.is_closed


async def test_a_stream_may_be_closed_where_another_task_reads_it() -> None:
    streamed = Streamed(A, 100.0)
    assert await anext(streamed.stream)
    reading = asyncio.ensure_future(anext(streamed.stream))
    await asyncio.sleep(0)
    await streamed.stream.close()
    assert streamed.response.is_closed
    assert streamed.teller.ends == [(None, None)]
    reading.cancel()
    await asyncio.wait([reading])


async def test_closing_a_stream_closes_what_it_read_from() -> None:
    streamed = Streamed(A, B, STOP)
    await anext(streamed.stream)
    await streamed.stream.close()
    assert streamed.stream._iterator.ag_frame is None
    assert streamed.teller.ends == [(None, None)]


async def test_a_body_with_nothing_to_decode_is_read_as_it_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    protocol: Any = aiohttp.base_protocol.BaseProtocol(loop)
    reader = aiohttp.StreamReader(protocol, 2**16, loop=loop)
    reader.feed_data(B + STOP)
    reader.feed_eof()
    streamed = Streamed(A)
    bodies = {id(streamed.response): reader}
    monkeypatch.setattr(body, "plain_body", lambda of: bodies[id(of)])
    assert len(await streamed.read()) == 2
    assert (streamed.teller.said, streamed.body.left) == (["b"], [A])


def test_a_synchronous_stream_is_told_and_closed_too() -> None:
    streamed = Streamed(A, B, STOP, DONE, A, sync=True)
    first = next(streamed.stream)
    assert (type(first), streamed.teller.said) == (ChatCompletionChunk, ["a"])
    assert len(list(streamed.stream)) == 2
    assert (streamed.teller.said, streamed.body.left) == (["a", "b"], [A])
    assert streamed.teller.ends == [(None, "stop")]
    assert streamed.response.is_closed


def test_a_synchronous_body_without_a_finish_reason_is_a_cut_answer() -> None:
    streamed = Streamed(A, sync=True, chunks=OneText)
    assert next(streamed.stream)["choices"][0]["delta"]["content"] == "a"
    with pytest.raises(CutAnswer):
        next(streamed.stream)
    assert streamed.teller.ends == [(None, None)]


def test_a_synchronous_body_that_breaks_fails_unless_it_was_finished() -> None:
    broken = httpx2.ReadError("x")
    streamed = Streamed(A, broken, sync=True)
    with pytest.raises(openai.APIConnectionError) as raised:
        list(streamed.stream)
    assert (raised.value.request, raised.value.__cause__) == (REQUEST, broken)
    assert streamed.response.is_closed
    assert len(list(Streamed(A, STOP, broken, sync=True).stream)) == 2


def test_a_synchronous_body_that_says_nothing_is_given_up() -> None:
    streamed = Streamed(A, b": warm\n\n", b": warm\n\n", sync=True, timeouts=Timeouts(-1, -1))
    with pytest.raises(openai.APITimeoutError) as raised:
        list(streamed.stream)
    assert raised.value.request is REQUEST
    assert streamed.teller.said == ["a"]


def test_a_synchronous_stream_that_nobody_reads_is_closed_and_counted() -> None:
    streamed = Streamed(A, sync=True)
    streamed.stream.close()
    assert streamed.teller.ends == [(None, None)]
    assert streamed.response.is_closed
    read = Streamed(A, B, sync=True)
    next(read.stream)
    read.stream.close()
    assert read.stream._iterator.gi_frame is None


def test_a_synchronous_stream_may_be_closed_where_it_is_being_read() -> None:
    streamed = Streamed(A, lambda: streamed.stream.close(), STOP, sync=True)
    assert next(streamed.stream)
    list(streamed.stream)
    assert streamed.response.is_closed
    assert streamed.teller.ends == [(None, None)]


class Network:
    def __init__(self, raw: object) -> None:
        self._raw, self.asked = raw, list[str]()

    def get_extra_info(self, name: str) -> object:
        self.asked.append(name)
        return self._raw


def test_whoever_cancels_the_node_shuts_the_connection_of_a_thread() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        network = Network(ours)
        streamed = Streamed(A, STOP, sync=True, extensions={"network_stream": network})
        assert len(streamed.node.open) == 0
        next(streamed.stream)
        assert len(streamed.node.open) == 1
        streamed.node.open.stop()
        assert network.asked == ["socket"]
        theirs.settimeout(5)
        ours.settimeout(5)
        assert (theirs.recv(1), ours.recv(1)) == (b"", b"")
        list(streamed.stream)
    assert len(streamed.node.open) == 0


@pytest.mark.parametrize("raw", [None, "no socket", socket.socket])
def test_a_connection_that_cannot_be_shut_is_left(raw: Any) -> None:
    given = raw() if callable(raw) else raw
    if isinstance(given, socket.socket):
        given.close()
    for extensions in ({"network_stream": Network(given)}, {}):
        streamed = Streamed(A, STOP, sync=True, extensions=extensions)
        next(streamed.stream)
        streamed.node.open.stop()
        assert len(list(streamed.stream)) == 1


class Gathered(body.Body):
    """Gives each read, and notes for how long it need not have been read on."""

    def __init__(self, *reads: bytes) -> None:
        self.left, self.pauses = list(reads), list[float]()

    async def gather(self, take: body.Take, seconds: float) -> bool:
        assert seconds == inf
        return bool(self.left) and not take(self.left.pop(0))

    def pause_reading(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.mark.parametrize(
    ("teller", "idle", "pauses"),
    [
        (CountedCall(None), 5.0, [2, 2]),
        (CountedCall(None), None, [2, 2]),
        (CountedCall(None), 4.0, []),
        (RecordingTeller(), 5.0, []),
        (HeardCall(None, RecordingTeller().say), 5.0, []),
    ],
)
async def test_only_a_call_that_nobody_hears_is_read_some_times_a_second(
    monkeypatch: pytest.MonkeyPatch, teller: Any, idle: float | None, pauses: list[float]
) -> None:
    read = Gathered(A, b": still there\n\n", B, STOP)
    monkeypatch.setattr(streams, "body_of", lambda _: nullcontext(read))
    streamed = Streamed(chunks=OneText, timeouts=Timeouts(idle, idle), call={"teller": teller})
    (joined,) = await streamed.read()
    assert joined["choices"][0]["delta"]["content"] == "ab"
    assert read.pauses == pauses
