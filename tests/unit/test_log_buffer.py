"""A job's log as a process holds it: joined tokens in it, shared frames, and who is told what."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest

from sluice.application.coalescing import coalesce
from sluice.application.encoding import Batch, Encoder, Push
from sluice.domain.chat import now
from sluice.domain.errors import Finished, Superseded
from sluice.domain.events import (
    BEGINNING,
    Cursor,
    Done,
    Event,
    Reasoning,
    Recorded,
    Reset,
    StageCompleted,
    Token,
)
from sluice.infrastructure.event_log.buffer import Buffer
from sluice.infrastructure.event_log.log import Log
from sluice.infrastructure.event_log.memory import MemoryEventLog
from tests.doubles import a_job
from tests.http.protocols.toy.encoder import State, ToyEncoder

FIRST = Recorded(Cursor(1, 1), StageCompleted("queued", 0))
UNKNOWN = Recorded(BEGINNING, Reset("cursor_unknown"))
JOINS = pytest.mark.parametrize("joins", [True, False])


def numbered(attempt: int, start: int, *events: Event) -> list[Recorded]:
    return [Recorded(Cursor(attempt, seq), event) for seq, event in enumerate(events, start)]


def said(text: str, node: str = "answer") -> list[Token]:
    return [Token(letter, node) for letter in text]


LOG = [
    FIRST,
    *numbered(1, 2, *said("a무b"), Reset("revised"), *said("cd"), *said("xy", "closing")),
    *numbered(2, 1, Reset("new_attempt"), *said("efg"), Done("A2", "efg")),
]


def loaded() -> Log:
    """LOG as a store may load it."""
    records = [
        FIRST,
        Recorded(Cursor(1, 4), Token("a무b", "answer")),
        LOG[4],
        Recorded(Cursor(1, 7), Token("cd", "answer")),
        Recorded(Cursor(1, 9), Token("xy", "closing")),
        LOG[9],
        Recorded(Cursor(2, 4), Token("efg", "answer")),
        LOG[-1],
    ]
    return Log(a_job(), records, {1: [1] * 3, 3: [1] * 2, 4: [1] * 2, 6: [1] * 3})


def folded(
    encoder: Encoder, log: Sequence[Recorded], state: Any = None, before: Cursor = BEGINNING
) -> tuple[Any, list[bytes]]:
    state, frames = state or encoder.initial, list[bytes]()
    for recorded in log:
        state, new = encoder.encode(state, before, recorded)
        frames += new
        before = recorded.id
    return state, frames


async def events_in(batches: AsyncGenerator[Sequence[Recorded], None]) -> list[Recorded]:
    async with asyncio.timeout(5), aclosing(batches):
        return [recorded async for batch in batches for recorded in batch]


async def batches_of(batches: AsyncGenerator[Batch, None]) -> list[Batch]:
    async with asyncio.timeout(5), aclosing(batches):
        return [batch async for batch in batches]


async def body_of(batches: AsyncGenerator[Batch, None]) -> bytes:
    return b"".join(batch.body for batch in await batches_of(batches))


async def test_a_joined_token_is_told_from_behind_each_of_its_pieces() -> None:
    for index, recorded in enumerate(LOG[:-1], 1):
        told = await events_in(loaded().follow(recorded.id))
        assert told == coalesce(LOG[index:])


@JOINS
async def test_a_joined_token_is_encoded_from_behind_each_of_its_pieces(joins: bool) -> None:
    encoder = ToyEncoder("job", joins)
    for index, recorded in enumerate(LOG[:-1], 1):
        state, _ = folded(encoder, LOG[:index])
        rest = coalesce(LOG[index:]) if joins else LOG[index:]
        _, frames = folded(encoder, rest, state, recorded.id)
        assert await body_of(loaded().follow_encoded(recorded.id, encoder)) == b"".join(frames)


async def test_a_token_that_stands_alone_is_told_as_it_is_beside_joined_ones() -> None:
    log = numbered(1, 1, *said("ab"), *said("x", "closing"), Done("A2", "x"))
    buffer = Buffer([Recorded(Cursor(1, 2), Token("ab", "answer")), *log[2:]], {0: [1, 1]})
    encoder = ToyEncoder("job", joins_tokens=False)
    assert await body_of(buffer.follow_encoded(None, encoder)) == b"".join(folded(encoder, log)[1])


@dataclass(frozen=True)
class PairEncoder(ToyEncoder):
    """Two frames for each event, the first of which says what stands before it."""

    def encode(
        self, state: State, before: Cursor, recorded: Recorded, /
    ) -> tuple[State, Sequence[bytes]]:
        state, _ = super().encode(state, before, recorded)
        return state, [f"{before} {recorded.id}\n".encode(), f"{state}\n".encode()]


async def test_a_reader_goes_on_behind_every_single_frame() -> None:
    encoder = PairEncoder("job", joins_tokens=False)
    _, whole = folded(encoder, LOG)
    for index, recorded in enumerate(LOG):
        before = LOG[index - 1].id if index else BEGINNING
        for skip, have in [(0, 0), (1, 1), (9, 1)]:  # of its own frames never the last is left out
            rest = await body_of(loaded().follow_encoded(before, encoder, skip))
            assert rest == b"".join(whole[2 * index + have :]), recorded


async def test_a_log_may_begin_with_a_token() -> None:
    log = numbered(1, 1, *said("ab"), Done("A2", "ab"))
    encoder = ToyEncoder("job")
    _, whole = folded(encoder, log)
    assert await body_of(Buffer(log).follow_encoded(Cursor(1, 2), encoder)) == b"".join(whole[3:])


@pytest.mark.parametrize("cursor", [(2, 0), (1, 2), (1, 3), (2, 4), (9, 9)])
async def test_a_cursor_beside_a_joined_token_is_unknown(cursor: tuple[int, int]) -> None:
    records = [FIRST, Recorded(Cursor(2, 3), Token("efg", "answer"))]
    batches = Buffer(records, {1: [1, 1, 1]}).follow(Cursor(*cursor))
    assert await anext(batches) == [UNKNOWN]
    assert await anext(batches) == records
    await batches.aclose()


async def test_a_reader_of_an_unknown_cursor_has_the_encoders_state_of_the_beginning() -> None:
    encoder = PairEncoder("job")
    _, whole = folded(encoder, coalesce(LOG))
    _, reset = folded(encoder, [UNKNOWN])
    told = await batches_of(Buffer(LOG).follow_encoded(Cursor(9, 9), encoder, 1))
    assert (told[0].events, told[0].body) == ([UNKNOWN], b"".join(reset))
    assert b"".join(batch.body for batch in told[1:]) == b"".join(whole)


async def test_every_frame_of_every_event_is_told_as_it_comes() -> None:
    """The first event has two, the last as well."""
    buffer, encoder = Buffer(numbered(1, 1, *said("a"))), ToyEncoder("job")
    batches = buffer.follow_encoded(None, encoder)
    got = (await anext(batches)).body
    for records in (numbered(1, 2, *said("b")), numbered(1, 3, Done("A2", "ab"))):
        buffer.append(records)
        batch = await anext(batches)
        assert (batch.events, batch.waiting) == (records, 1)
        got += batch.body
    assert got == b"".join(folded(encoder, buffer.records)[1])
    assert [batch async for batch in batches] == []


async def test_a_reader_that_asks_for_no_less_gets_all_frames_of_the_first_event() -> None:
    log, job, encoder = MemoryEventLog(), a_job(), ToyEncoder("job")
    await log.create(job, Token("a", "answer"))
    async with aclosing(await log.follow_encoded(job.id, after=None, encoder=encoder)) as batches:
        batch = await anext(batches)
    assert batch.body == b"".join(folded(encoder, numbered(1, 1, *said("a")))[1])


@dataclass(frozen=True)
class CountingEncoder(ToyEncoder):
    encoded: list[Cursor] = field(default_factory=list, compare=False)

    def encode(
        self, state: State, before: Cursor, recorded: Recorded, /
    ) -> tuple[State, Sequence[bytes]]:
        self.encoded.append(recorded.id)
        return super().encode(state, before, recorded)


class Reading:
    """A reader of a buffer: what it is given in line, and what it has to fetch."""

    def __init__(self, buffer: Buffer, encoder: Encoder, *, takes: bool = True) -> None:
        self.takes, self.given, self.fetched = takes, list[bytes](), list[bytes]()
        self.task = asyncio.create_task(self._read(buffer, encoder, self.push))

    def push(self, body: bytes) -> bool:
        if self.takes:
            self.given.append(body)
        return self.takes

    async def _read(self, buffer: Buffer, encoder: Encoder, push: Push) -> None:
        async with aclosing(buffer.follow_encoded(None, encoder, push=push)) as batches:
            async for batch in batches:
                self.fetched.append(batch.body)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_readers_take_in_line_is_encoded_once_for_all_of_them() -> None:
    buffer, encoder = Buffer([FIRST]), CountingEncoder("job")
    readers = [Reading(buffer, encoder) for _ in range(3)]
    readers.insert(1, Reading(buffer, encoder, takes=False))
    await settled()
    log = [FIRST, *numbered(1, 2, *said("abc"), Reasoning("d", "answer"), Done("A2", "abc"))]
    for recorded in log[1:]:
        buffer.append([recorded])
        await settled()
    whole = folded(ToyEncoder("job"), log)[1]
    for reader in readers:
        await reader.task
        given = [b"".join(whole[:2]), whole[2], whole[3]] if reader.takes else []
        assert reader.given == given
        assert b"".join(reader.fetched) == b"".join(whole[4:] if reader.takes else whole)
    assert encoder.encoded == [recorded.id for recorded in log]


async def test_who_has_no_room_for_a_piece_fetches_it_and_waits_once() -> None:
    buffer, told = Buffer([FIRST]), list[bytes]()
    reader = Reading(buffer, ToyEncoder("job"))
    reader.given = reader.fetched = told
    await settled()
    log = [FIRST, *numbered(1, 2, *said("abcd"), Done("A2", "abcd"))]
    for recorded in log[1:]:
        assert len(buffer._waiting) == 1
        reader.takes = not (isinstance(recorded.event, Token) and recorded.event.content == "b")
        buffer.append([recorded])
        await settled()
    await reader.task
    assert b"".join(told) == b"".join(folded(ToyEncoder("job"), log)[1])


async def test_what_late_readers_fetch_is_encoded_once_for_all_of_them() -> None:
    encoder = CountingEncoder("job")
    buffer = loaded()
    readers = [buffer.follow_encoded(None, encoder) for _ in range(3)]
    told = [await batches_of(batches) for batches in readers]
    whole = b"".join(folded(ToyEncoder("job"), coalesce(LOG))[1])
    assert [[(batch.body, batch.waiting) for batch in each] for each in told] == [[(whole, 8)]] * 3
    assert len(encoder.encoded) == len(buffer.records)


async def test_a_reader_with_a_fault_holds_up_none_that_waits_behind_it() -> None:
    class Faulty(ToyEncoder):
        def encode(self, state: State, before: Cursor, recorded: Recorded, /) -> Any:
            if not isinstance(recorded.event, Token):
                return super().encode(state, before, recorded)
            raise RuntimeError("a fault")

    buffer = Buffer([FIRST])
    encoders = [Faulty("job"), ToyEncoder("job")]
    batches = [
        buffer.follow_encoded(FIRST.id, encoder, push=lambda _: True) for encoder in encoders
    ]
    waiting = [asyncio.ensure_future(anext(each)) for each in batches]
    await settled()
    for recorded in numbered(1, 2, *said("a"), Done("A2", "a")):
        buffer.append([recorded])
    with pytest.raises(RuntimeError, match="a fault"):
        await waiting[0]
    assert (await waiting[1]).events[-1].event == Done("A2", "a")
    for each in batches:
        await each.aclose()


@JOINS
async def test_a_long_log_is_told_in_parts_and_each_event_once(joins: bool) -> None:
    log = numbered(1, 1, *[Token("x" * 12_000, "answer") for _ in range(7)], Done("A2", ""))
    encoder = ToyEncoder("job", joins)
    told = await batches_of(Buffer(log).follow_encoded(None, encoder))
    assert [batch.waiting for batch in told] == [2, 2, 2, 2]
    events = [recorded for batch in told for recorded in batch.events]
    pairs = [one for start in (0, 2, 4, 6) for one in coalesce(log[start : start + 2])]
    assert events == (pairs if joins else log)
    assert b"".join(batch.body for batch in told) == b"".join(folded(encoder, events)[1])


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([1, 1, 1], [3]),
        ([16_384, 16_384], [2]),
        ([16_384, 16_385], [1, 1]),
        ([40_000], [1]),
        ([40_000, 1], [1, 1]),
        ([1, 40_000, 1], [1, 1, 1]),
    ],
)
async def test_a_part_is_as_many_events_as_32_kibibytes_hold_and_never_none(
    sizes: list[int], parts: list[int]
) -> None:
    log = numbered(1, 1, *[Token("x" * size, "answer") for size in sizes])
    batches = Buffer(log).follow(None)
    assert [len(await anext(batches)) for _ in parts] == parts
    await batches.aclose()


async def test_a_log_that_breaks_is_read_to_where_it_stands() -> None:
    buffer = Buffer(LOG[:3])
    waiting = buffer.follow(LOG[2].id)
    late = buffer.follow(None)
    reading = asyncio.ensure_future(anext(waiting))
    await settled()
    buffer.breaks(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        await reading
    assert await anext(late) == LOG[:3]
    with pytest.raises(ValueError, match="broken"):
        await anext(late)


def test_an_empty_log_stands_at_its_beginning_and_has_not_ended() -> None:
    assert (Buffer().last, Buffer().ended) == (BEGINNING, False)
    assert (Buffer(LOG[:3]).last, Buffer(LOG[:3]).ended) == (Cursor(1, 3), False)
    assert (Buffer(LOG).last, Buffer(LOG).ended) == (Cursor(2, 5), True)


def test_a_log_that_was_loaded_is_open_unless_it_has_ended() -> None:
    Log(a_job(), LOG[:3], attempt=2).require_open(None)
    Log(a_job(), LOG[:3], attempt=2).require_open(2)
    with pytest.raises(Superseded):
        Log(a_job(), LOG[:3], attempt=2).require_open(1)
    with pytest.raises(Finished):
        Log(a_job(), LOG, attempt=2, ended_at=now()).require_open(None)
