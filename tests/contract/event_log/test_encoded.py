"""What every store of the log promises the readers of an encoder, and who is written to in line."""

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from sluice.application.encoding import Batch, Push
from sluice.application.ports import EventLogPort
from sluice.domain.chat import Job
from sluice.domain.events import (
    Cursor,
    Event,
    Recorded,
    Reset,
    StageStarted,
    Token,
)
from sluice.interfaces.protocols.native.encoder import NATIVE
from tests.contract.event_log.stores import (
    DONE,
    FIRST,
    Script,
    Store,
    a_job,
    assert_same,
    begun,
    followed,
)
from tests.frames import recorded_in
from tests.http.protocols.toy.encoder import ToyEncoder


async def encoded(log: EventLogPort, job: Job, push: Push) -> AsyncGenerator[Batch, None]:
    return await log.follow_encoded(job.id, after=None, encoder=NATIVE, push=push)


@pytest.mark.parametrize("every", [1, 3, 100])
async def test_what_a_waiting_reader_takes_in_line_is_neither_missed_nor_yielded(
    log: EventLogPort, every: int
) -> None:
    """It takes one of so many tokens that it is offered."""
    job = a_job()
    await log.create(job, FIRST)
    script = Script(log, job)
    await script.begin()
    got, offered, taken = list[Recorded](), list[Recorded](), list[Recorded]()

    def push(body: bytes) -> bool:
        (recorded,) = recorded_in(body)
        offered.append(recorded)
        if len(offered) % every:
            return False
        taken.append(recorded)
        got.append(recorded)
        return True

    async def read(batches: AsyncGenerator[Batch, None]) -> list[Recorded]:
        yielded = list[Recorded]()
        async with asyncio.timeout(5), aclosing(batches):
            async for batch in batches:
                assert recorded_in(batch.body) == list(batch.events)
                yielded += batch.events
                got.extend(batch.events)
        return yielded

    async def said(*events: Event) -> None:
        """And seen by the reader, which waits again."""
        await script.publish(*events)
        while got[-1:] != script.records[-1:]:  # noqa: ASYNC110 - `got` knows of no event
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    reading = asyncio.create_task(read(await encoded(log, job, push)))
    await said(StageStarted("answer", 10))
    tokens = [Token(f"{number}", "answer") for number in range(10)]
    for token in tokens:
        await said(token)
    await script.publish(Token("a", "answer"), Token("b", "answer"), DONE)
    yielded = await reading
    assert_same(got, script.records)
    assert [each.event for each in offered] == tokens
    assert taken == offered[every - 1 :: every]
    assert sorted(taken + yielded) == got


async def test_a_reader_that_has_left_takes_nothing_more(log: EventLogPort) -> None:
    """Its response may be over, and its connection at another one."""
    job, notifier = await begun(log)
    offered = list[bytes]()

    def push(body: bytes) -> bool:
        offered.append(body)
        return True

    batches = await encoded(log, job, push)
    await anext(batches)
    waiting = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0.02)
    notifier.publish(Token("a", "answer"))
    while not offered:  # noqa: ASYNC110 - `offered` knows of no event
        await asyncio.sleep(0.001)
    waiting.cancel()
    for text in "bc":  # at once, and when it has gone
        notifier.publish(Token(text, "answer"))
        await log.read(job.id)
        await asyncio.sleep(0.02)
    assert len(offered) == 1


async def test_a_log_that_says_nothing_more_keeps_no_reader_that_has_left(
    log: EventLogPort,
) -> None:
    class Connection:
        def push(self, _: bytes) -> bool:
            return True

    job, _ = await begun(log)
    connection = Connection()
    kept = weakref.ref(connection)
    batches = await encoded(log, job, connection.push)
    del connection
    await anext(batches)
    waiting = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.wait([waiting])
    del waiting
    await batches.aclose()
    del batches
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("joins", [True, False])
async def test_an_encoders_readers_early_late_resumed_and_elsewhere_get_the_same(
    store: Store, joins: bool
) -> None:
    """A store may have joined what one encoder wants token by token."""
    job = a_job()
    await store.log.create(job, FIRST)
    encoder = ToyEncoder(job.id, joins)
    follow = store.log.follow_encoded
    early = [
        asyncio.create_task(bodies(await follow(job.id, after=None, encoder=encoder)))
        for _ in range(3)
    ]
    script = Script(store.log, job)
    await script.begin()
    for number in range(20):
        await script.publish(Token(f"{number} 무", "answer"))
        await asyncio.sleep(0)
    await script.begin()
    await script.publish(Reset("new_attempt"))
    await script.publish(*[Token(text, "answer") for text in "abc"], DONE)
    expected, state, before = list[bytes](), encoder.initial, Cursor(1, 0)
    for recorded in script.records:
        state, new = encoder.encode(state, before, recorded)
        expected += new
        before = recorded.id
    assert all([said_by(await each) == said_by(b"".join(expected)) for each in early])
    for log in (store.log, await store.fresh()):
        if joins:
            whole = await bodies(await log.follow_encoded(job.id, after=None, encoder=encoder))
            assert said_by(whole) == said_by(b"".join(expected))
            continue
        for index in range(len(expected)):
            after, skip = position(expected[index - 1]) if index else (Cursor(1, 0), 0)
            rest = await log.follow_encoded(job.id, after=after, encoder=encoder, skip=skip)
            assert await bodies(rest) == b"".join(expected[index:])


async def bodies(batches: AsyncGenerator[Batch, None]) -> bytes:
    async with asyncio.timeout(5), aclosing(batches):
        return b"".join([batch.body async for batch in batches])


def said_by(body: bytes) -> list[object]:
    """The toy's lines, with what was said between two others as one text."""
    lines: list[object] = []
    for frame in body.decode().split("\n\n")[:-1]:
        line = json.loads(frame.split("data: ")[1])
        if "say" in line and lines and isinstance(lines[-1], tuple):
            lines[-1] = (lines[-1][0] + line["say"], line["said"])
        else:
            lines.append((line["say"], line["said"]) if "say" in line else line)
    return lines


def position(frame: bytes) -> tuple[Cursor, int]:
    """Where a reader goes on that has this frame of the toy."""
    event, _, skip = frame.decode().split("\n")[0].removeprefix("id: ").partition(".")
    attempt, seq = map(int, event.split("-"))
    return Cursor(attempt, seq), int(skip or 0)


async def test_a_fault_in_a_readers_encoder_ends_its_reading_and_nobody_elses(
    log: EventLogPort,
) -> None:
    class Faulty(ToyEncoder):
        def encode(self, *_: object) -> Any:
            raise ValueError("a fault")

    job, notifier = await begun(log)
    batches = await log.follow_encoded(
        job.id, after=Cursor(1, 1), encoder=Faulty(job.id), push=lambda _: True
    )
    reading = asyncio.create_task(bodies(batches))
    other = asyncio.create_task(followed(log, job))
    await asyncio.sleep(0.02)
    notifier.publish(Token("a", "answer"))
    await notifier.end(DONE)
    with pytest.raises(ValueError, match="a fault"):
        await reading
    assert [each.event for each in await other] == [FIRST, Token("a", "answer"), DONE]
