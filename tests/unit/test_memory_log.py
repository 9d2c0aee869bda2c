"""The log in memory once its job is over: what it keeps, and who reads what."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from sluice.application.coalescing import coalesce
from sluice.domain.chat import Job, new_id
from sluice.domain.errors import Finished, NotFound
from sluice.domain.events import QUEUED, Cursor, Done, Event, Reasoning, Recorded, Token
from sluice.domain.ports import NotifierPort
from sluice.infrastructure.event_log.memory import MemoryEventLog

JOBS, TOKENS = 50, 225
KEPT_BYTES = 0.05 * 1024


async def begun(log: MemoryEventLog) -> tuple[Job, NotifierPort]:
    job = Job(new_id(), "chat", "ann", "A2", "Why?", "request")
    await log.create(job, QUEUED)
    return job, await log.begin(job.id)


async def spoken(log: MemoryEventLog) -> Job:
    job, notifier = await begun(log)
    for number in range(TOKENS):
        notifier.publish(Token(f"tok{number % 9} ", "answer"))
    await notifier.end(Done("A2", "tok0 " * TOKENS))
    await joined()
    return job


async def joined() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def rest(batches: AsyncGenerator[Sequence[Recorded], None]) -> list[Recorded]:
    async with asyncio.timeout(5), aclosing(batches):
        return [recorded async for batch in batches for recorded in batch]


async def test_a_token_of_a_job_that_is_over_is_kept_for_a_few_bytes() -> None:
    log = MemoryEventLog(joined_after=0)
    await spoken(log)  # what is made once
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(JOBS):
            await spoken(log)
        gc.collect()
        kept = (tracemalloc.get_traced_memory()[0] - before) / (JOBS * TOKENS)
    finally:
        tracemalloc.stop()
    assert kept <= KEPT_BYTES


async def test_every_id_of_a_job_that_is_over_is_a_cursor_with_exactly_the_rest_behind_it() -> None:
    log, texts = MemoryEventLog(joined_after=0), ["가", "b\n", "👩‍👩‍👧", "d", " "]
    said: list[Event] = [
        *(Reasoning(text, "answer") for text in texts),
        *(Token(text, node) for node in ("answer", "closing") for text in texts),
        Done("A2", "".join(texts)),
    ]
    job, notifier = await begun(log)
    for event in said[:-1]:
        notifier.publish(event)
    await notifier.end(said[-1])
    await joined()
    records = [Recorded(Cursor(1, seq), event) for seq, event in enumerate([QUEUED, *said], 1)]
    assert len((await log.read(job.id)).events) == 5
    for count in range(len(records) - 1):
        after = records[count - 1].id if count else None
        told = await rest(await log.follow(job.id, after=after))
        assert told == coalesce(records[count:])


async def test_a_reader_that_is_behind_at_the_end_is_told_what_it_would_have_been_told() -> None:
    log = MemoryEventLog(joined_after=0)
    job, notifier = await begun(log)
    events = [Token(text, "answer") for text in "abcde"]
    notifier.publish(*events[:3])
    before, after = await log.follow(job.id, after=None), await log.follow(job.id, after=None)
    assert len(await anext(before)) == 4
    notifier.publish(*events[3:])
    await notifier.end(Done("A2", "abcde"))
    await joined()
    assert [one.event for one in await rest(before)] == [*events[3:], Done("A2", "abcde")]
    assert [one.event for one in await rest(after)] == [QUEUED, *events, Done("A2", "abcde")]


async def test_a_job_that_is_over_is_the_same_once_its_tokens_are_joined() -> None:
    log = MemoryEventLog(joined_after=0)
    job, _ = await begun(log)
    notifier = await log.begin(job.id)
    await notifier.end(Done("A2", ""))
    before = await log.read(job.id)
    await joined()
    assert await log.read(job.id) == before
    assert before.job == job
    assert before.ended_at is not None
    assert await log.attempts(job.id) == 2
    with pytest.raises(Finished):
        await log.begin(job.id)


async def test_whoever_reads_a_chat_that_is_deleted_is_told_which_job_is_gone() -> None:
    log = MemoryEventLog()
    job, _ = await begun(log)
    reading = await log.follow(job.id, after=None)
    await anext(reading)
    await log.delete(job.chat_id)
    for gone in (anext(reading), log.read(job.id)):
        with pytest.raises(NotFound, match=job.id):
            await gone


async def test_a_job_that_is_deleted_is_not_forgotten_twice() -> None:
    loop, failures = asyncio.get_running_loop(), list[object]()
    log = MemoryEventLog(retention=0, joined_after=0)
    job, notifier = await begun(log)
    loop.set_exception_handler(lambda _, failure: failures.append(failure))
    await notifier.end(Done("A2", ""))
    await log.delete(job.chat_id)
    await joined()
    assert failures == []


async def test_a_chat_that_is_deleted_right_after_its_answer_stays_deleted() -> None:
    log = MemoryEventLog(joined_after=0)
    job, notifier = await begun(log)
    await notifier.end(Done("A2", ""))
    await log.delete(job.chat_id)
    await joined()
    assert list(log._present()) == []


async def test_who_comes_right_after_the_end_finds_each_token_by_itself() -> None:
    log = MemoryEventLog()
    job, notifier = await begun(log)
    notifier.publish(Token("a", "answer"), Token("b", "answer"))
    await notifier.end(Done("A2", "ab"))
    assert [one.id.seq for one in (await log.read(job.id)).events] == [1, 2, 3, 4]
