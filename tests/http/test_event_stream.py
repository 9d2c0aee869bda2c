"""A log's batches as an event stream: what is sent of them, and how a body ends."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from sluice.application.encoding import Batch
from sluice.domain.errors import NotFound, Unavailable
from sluice.domain.events import (
    BEGINNING,
    Cursor,
    Done,
    Event,
    NeedsInput,
    Recorded,
    Reset,
    Token,
)
from sluice.interfaces.http.server.frame_writer import ON_LEFT, PUSH, RESET
from sluice.interfaces.http.services import StreamStats
from sluice.interfaces.http.sse import EventStream

DONE = Done("A2", "")
ASKS = NeedsInput("one", "go?", "text", "2026-11-30T12:00:00Z")
FIRST = Cursor(1, 1)


class Cut(EventStream):
    """A protocol whose unfinished bodies are cut."""


class Ended(EventStream):
    """A protocol whose unfinished bodies are ended with a word."""

    opening = b"open\n\n"
    keepalive = b": alive\n\n"
    ends_unfinished = True

    def interrupted(self) -> bytes:
        return b"later\n\n"


def batch(event: Event, body: bytes, cursor: Cursor = FIRST) -> Batch:
    return Batch([Recorded(cursor, event)], body, 1)


def said(body: bytes) -> Batch:
    return batch(Token("a", "answer"), body)


class Exchange:
    """A request's two sides: what was sent, how often its connection was cut.

    `left` is whom the stream wants told when its reader is gone.
    """

    def __init__(self, kind: type[EventStream], *plays: Any, **options: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        self.cuts = 0
        self.left: Callable[[], None] | None = None
        self.stats = StreamStats()
        self.open: list[int] = []
        given = {"ping": 60, "expires": None} | options
        self.stream = kind(self._batches(*plays), self.stats, **given)

    async def _batches(self, *plays: Any) -> AsyncGenerator[Batch, None]:
        for play in plays:
            self.open.append(self.stats.open)
            match play:
                case BaseException():
                    raise play
                case asyncio.Event():
                    await play.wait()
                case _:
                    yield play

    def _cut(self) -> None:
        self.cuts += 1

    def _push(self, body: bytes) -> bool:
        self.sent.append({"type": "http.response.body", "body": body, "more_body": True})
        return True

    def _on_left(self, left: Callable[[], None] | None) -> None:
        self.left = left

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def run(self, method: str = "GET") -> None:
        extensions = {RESET: self._cut, PUSH: self._push, ON_LEFT: self._on_left}
        scope = {"type": "http", "method": method, "extensions": extensions}
        async with asyncio.timeout(5):
            await self.stream(scope, asyncio.Event().wait, self.send)  # type: ignore[arg-type]

    @property
    def parts(self) -> list[bytes]:
        return [message.get("body", b"") for message in self.sent[1:]]

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}


async def exchanged(kind: type[EventStream], *plays: Any, **options: Any) -> Exchange:
    exchange = Exchange(kind, *plays, **options)
    await exchange.run()
    return exchange


@pytest.mark.parametrize(
    ("kind", "opening", "connection"), [(Cut, [], "keep-alive"), (Ended, [b"open\n\n"], "close")]
)
async def test_frames_leave_as_they_are_behind_the_opening_and_the_body_ends(
    kind: type[EventStream], opening: list[bytes], connection: str
) -> None:
    exchange = await exchanged(kind, said(b"a"), said(b""), said(b"\r\nb"), batch(DONE, b"end"))
    assert exchange.parts == [*opening, b"a", b"\r\nb", b"end", b""]
    assert [message.get("more_body", False) for message in exchange.sent[1:]] == [
        *[True] * (len(exchange.parts) - 1),
        False,
    ]
    assert exchange.headers == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-store, no-transform",
        "x-accel-buffering": "no",
        "connection": connection,
    }
    assert (exchange.sent[0]["status"], exchange.cuts) == (200, 0)


async def test_head_is_answered_with_the_same_head_and_a_body_of_nothing() -> None:
    exchange = Exchange(Ended, batch(DONE, b"end"))
    await exchange.run("HEAD")
    whole = await exchanged(Ended, batch(DONE, b"end"))
    assert exchange.sent == [whole.sent[0], {"type": "http.response.body"}]
    assert (exchange.open, exchange.stats.open) == ([], 0)


@pytest.mark.parametrize("expires", [None, 60])
@pytest.mark.parametrize("error", [None, Unavailable("away"), NotFound("job")])
async def test_an_unfinished_body_is_cut_or_ended_with_a_word_as_its_protocol_has_it(
    error: Exception | None, expires: float | None
) -> None:
    plays = [said(b"a"), *([error] if error else [])]
    expires = expires and time.time() + expires
    cut = await exchanged(Cut, *plays, expires=expires)
    assert (cut.parts, cut.cuts) == ([b"a", b""], 1)
    ended = await exchanged(Ended, *plays, expires=expires)
    assert (ended.parts, ended.cuts) == (
        [b"open\n\n", b"a", *([b"later\n\n"] if error else []), b""],
        0,
    )
    assert (cut.stats.expired, cut.stats.open) == (0, 0)


async def test_a_stream_ends_when_its_readers_identity_does() -> None:
    waits = asyncio.Event()
    cut = await exchanged(Cut, said(b"a"), waits, expires=time.time() + 0.05)
    assert (cut.parts, cut.cuts, cut.stats.expired) == ([b"a", b""], 1, 1)
    ended = await exchanged(Ended, waits, expires=time.time() - 1)
    assert (ended.parts, ended.cuts, ended.stats.expired) == ([b"open\n\n", b""], 0, 1)
    asyncio.get_running_loop().call_later(0.01, waits.set)
    whole = await exchanged(Cut, waits, batch(DONE, b"end"), expires=time.time() + 60)
    assert (whole.parts, whole.cuts, whole.stats.expired) == ([b"end", b""], 0, 0)


async def test_a_stream_ends_where_its_job_asks_a_human_if_its_protocol_says_so() -> None:
    endings, asked = [None, b"bye"], list[Cursor]()

    async def at_pause(last: Cursor) -> bytes | None:
        asked.append(last)
        return endings.pop(0)

    plays = [
        said(b"a"),
        batch(ASKS, b"asks", Cursor(1, 2)),
        said(b"b"),
        batch(ASKS, b"asks again", Cursor(1, 4)),
        said(b"c"),
    ]
    ends = Exchange(Cut, *plays)
    ends.stream.at_pause = at_pause
    await ends.run()
    assert ends.parts == [b"a", b"asks", b"b", b"asks again", b"bye", b""]
    assert (asked, ends.cuts, ends.stats.open) == ([Cursor(1, 2), Cursor(1, 4)], 0, 0)
    goes_on = await exchanged(Cut, *plays, batch(DONE, b"end"))
    assert goes_on.parts == [b"a", b"asks", b"b", b"asks again", b"c", b"end", b""]


async def test_streams_are_counted_while_they_are_open_and_resets_made_for_a_reader() -> None:
    exchange = await exchanged(
        Cut,
        batch(Reset("cursor_unknown"), b"reset", BEGINNING),
        batch(Reset("revised"), b"revised"),
        batch(DONE, b"end"),
    )
    assert (exchange.open, exchange.stats.open, exchange.stats.resets) == ([1, 1, 1], 0, 1)
    reset = batch(Reset("cursor_unknown"), b"reset", BEGINNING)
    other = Exchange(Cut, reset, asyncio.Event(), expires=time.time() - 1)
    other.stats.open, other.stats.resets, other.stats.expired = 2, 3, 4
    await other.run()
    assert (other.open, other.stats.open) == ([3, 3], 2)
    assert (other.stats.resets, other.stats.expired) == (4, 5)


@pytest.mark.parametrize("event", [Token("a", "answer"), DONE])
@pytest.mark.parametrize(
    ("size", "parts"), [(16_384, [16_384]), (16_385, [16_384, 1]), (40_000, [16_384, 16_384, 7232])]
)
async def test_a_long_body_leaves_in_parts(event: Event, size: int, parts: list[int]) -> None:
    body = bytes(number % 251 for number in range(size))
    exchange = await exchanged(Cut, batch(event, body))
    assert [len(part) for part in exchange.parts] == [*parts, 0]
    assert b"".join(exchange.parts) == body
    assert all(message["more_body"] for message in exchange.sent[1:-1])


class Slow(Exchange):
    """Takes a part that begins with what it `holds` only when it `may_go_on`; or the end."""

    holds = b""

    def __init__(self, kind: type[EventStream], *plays: Any, **options: Any) -> None:
        super().__init__(kind, *plays, **options)
        self.may_go_on = asyncio.Event()

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        is_body = message["type"] == "http.response.body"
        if is_body and message.get("body", b"")[:1] == self.holds:
            await self.may_go_on.wait()


async def until_sent(exchange: Exchange, body: bytes, times: int = 1) -> None:
    async with asyncio.timeout(5):
        while exchange.parts.count(body) < times:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("kind", [Cut, Ended])
async def test_silence_is_filled_with_the_protocols_keepalives(kind: type[EventStream]) -> None:
    gate = asyncio.Event()
    exchange = Exchange(kind, gate, batch(DONE, b"end"), ping=0.001)
    running = asyncio.create_task(exchange.run())
    await until_sent(exchange, kind.keepalive, 3)
    gate.set()
    await running
    assert set(exchange.parts[:-2]) <= {b"open\n\n", kind.keepalive}
    assert exchange.parts[-2:] == [b"end", b""]


@pytest.mark.parametrize(
    ("last", "parts"),
    [
        (batch(DONE, b"end"), [b"end"]),
        (batch(DONE, b"e" * 20_000), [b"e" * 16_384, b"e" * 3616]),
    ],
)
async def test_no_keepalive_comes_between_or_behind_the_parts_of_the_end(
    last: Batch, parts: list[bytes]
) -> None:
    """However long a slow reader takes for them."""
    exchange = Slow(Ended, last, ping=0.001)
    exchange.holds = b"e"
    running = asyncio.create_task(exchange.run())
    await until_sent(exchange, parts[0])
    await asyncio.sleep(0.02)
    exchange.may_go_on.set()
    await running
    assert exchange.parts[exchange.parts.index(parts[0]) :] == [*parts, b""]


async def test_no_keepalive_comes_behind_the_end_of_an_unfinished_body() -> None:
    exchange = Slow(Ended, said(b"a"), ping=0.001)
    running = asyncio.create_task(exchange.run())
    await until_sent(exchange, b"")
    await asyncio.sleep(0.02)
    exchange.may_go_on.set()
    await running
    assert exchange.parts[-2:] == [b"a", b""]


async def test_no_keepalive_comes_between_the_parts_of_a_long_body() -> None:
    gate = asyncio.Event()
    exchange = Slow(Ended, said(b"e" * 20_000), gate, batch(DONE, b"end"), ping=0.001)
    exchange.holds = b"e"
    running = asyncio.create_task(exchange.run())
    await until_sent(exchange, b"e" * 16_384)
    await asyncio.sleep(0.02)
    exchange.may_go_on.set()
    await until_sent(exchange, Ended.keepalive)
    gate.set()
    await running
    at = exchange.parts.index(b"e" * 16_384)
    assert exchange.parts[at + 1] == b"e" * 3616


@pytest.mark.parametrize("kind", [Cut, Ended])
async def test_a_reader_that_leaves_ends_its_stream_wherever_that_waits(
    kind: type[EventStream],
) -> None:
    waiting = Exchange(kind, said(b"a"), asyncio.Event())
    running = asyncio.create_task(waiting.run())
    await until_sent(waiting, b"a")
    assert waiting.left is not None
    waiting.left()
    await running
    assert (waiting.parts[-1], waiting.cuts, waiting.stats.open) == (b"a", 0, 0)
    slow = Slow(kind, said(b"a" * 20_000), asyncio.Event())
    slow.holds = b"a"
    running = asyncio.create_task(slow.run())
    await until_sent(slow, b"a" * 16_384)
    assert slow.left is not None
    slow.left()
    await running
    assert (slow.cuts, slow.stats.open) == (0, 0)


async def test_a_reader_that_had_left_before_its_stream_began_gets_none() -> None:
    class Gone(Exchange):
        def _on_left(self, left: Callable[[], None] | None) -> None:
            if left is not None:
                left()

    gone = Gone(Cut, asyncio.Event())
    await gone.run()
    assert (gone.cuts, gone.stats.open, gone.parts) == (0, 0, [])


async def test_who_cancels_a_stream_is_not_taken_for_its_leaving_reader() -> None:
    exchange = Exchange(Cut, said(b"a"), asyncio.Event())
    running = asyncio.create_task(exchange.run())
    await until_sent(exchange, b"a")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (exchange.stats.open, exchange.left) == (0, None)


async def test_a_stream_runs_in_its_requests_task_alone() -> None:
    gate = asyncio.Event()
    exchange = Exchange(Ended, said(b"a"), gate, batch(DONE, b"end"), ping=0.001)
    before = len(asyncio.all_tasks())
    running = asyncio.create_task(exchange.run())
    await until_sent(exchange, Ended.keepalive)
    assert len(asyncio.all_tasks()) == before + 1
    gate.set()
    await running
