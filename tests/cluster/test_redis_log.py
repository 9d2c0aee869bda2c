"""The Redis log read by many, of any length, and by processes of another version."""

import asyncio
import gc
import weakref
from collections.abc import Sequence
from contextlib import aclosing
from contextvars import ContextVar

import pytest
from redis import Redis

from sluice.domain.errors import NotFound, Superseded, Unavailable
from sluice.domain.events import (
    Recorded,
    Token,
)
from sluice.infrastructure.event_log.redis import follower as feed
from sluice.infrastructure.event_log.redis.log import RedisEventLog
from tests.cluster.redis_logs import DONE, FIRST, begun, rest
from tests.services import RedisServer
from tests.waiting import until


async def test_the_writer_keeps_nothing_of_the_run_that_spoke_first(worker: RedisEventLog) -> None:
    class Run:
        """Whatever a node's context holds."""

    running = ContextVar[Run]("running")
    _, notifier = await begun(worker)

    async def speak() -> weakref.ref[Run]:
        running.set(Run())
        notifier.publish(Token("a", "answer"))
        return weakref.ref(running.get())

    run = await asyncio.create_task(speak())
    await asyncio.sleep(0)  # asyncio itself lets go of a task's context a turn later
    gc.collect()
    assert "log writer" in {task.get_name() for task in asyncio.all_tasks()}
    assert run() is None


@pytest.mark.parametrize("entries", [2, 3, 4, 5])
async def test_a_log_of_any_length_is_read_page_by_page(
    worker: RedisEventLog, gateway: RedisEventLog, monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    monkeypatch.setattr(feed, "_PAGE_ENTRIES", 2)
    job, notifier = await begun(worker)
    tokens = [Token(str(number), "answer") for number in range(entries - 2)]
    for token in tokens:
        notifier.publish(token)
        await worker.read(job.id)  # waits until it is in Redis: an entry of its own
    await notifier.end(DONE)
    whole = [FIRST, *tokens, DONE]
    assert [each.event for each in (await gateway.read(job.id)).events] == whole
    assert [each.event for each in await rest(await gateway.follow(job.id, after=None))] == whole


async def test_a_reader_may_have_read_far_ahead_at_another_gateway(
    worker: RedisEventLog, gateway: RedisEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_PAGE_ENTRIES", 2)
    monkeypatch.setattr(feed, "_READ_INTERVAL_S", 60)  # what this gateway has is old
    job, notifier = await begun(worker)
    early = await gateway.follow(job.id, after=None)
    await anext(early)
    for number in range(5):
        notifier.publish(Token(str(number), "answer"))
        ahead = (await worker.read(job.id)).events[-1].id
    async with aclosing(early), aclosing(await gateway.follow(job.id, after=ahead)) as late:
        with pytest.raises(TimeoutError):  # its cursor is known, and there is no more yet
            async with asyncio.timeout(0.1):
                await anext(late)


async def test_of_readers_who_come_at_once_the_one_who_knows_most_is_believed(
    worker: RedisEventLog, gateway: RedisEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their looks at the log may be answered in any order."""
    monkeypatch.setattr(feed, "_READ_INTERVAL_S", 60)
    job, notifier = await begun(worker)
    early = (await worker.read(job.id)).events
    notifier.publish(Token("a", "answer"))
    late = (await worker.read(job.id)).events
    looks, both = iter([late, early]), asyncio.Barrier(2)  # whoever comes last goes on first

    async def look(_: str) -> Sequence[Recorded]:
        found = next(looks)
        await both.wait()
        return found

    async def at_once() -> None:
        """Whoever comes second has no news from Redis yet."""

    monkeypatch.setattr(gateway._follower, "read", look)
    monkeypatch.setattr(gateway._follower, "_interrupt", at_once)
    follow = gateway.follow
    one, other = await asyncio.gather(follow(job.id, after=late[-1].id), follow(job.id, after=None))
    async with aclosing(one), aclosing(other):
        with pytest.raises(TimeoutError):  # its cursor is known, and there is no more yet
            async with asyncio.timeout(0.1):
                await anext(one)


async def test_what_a_newer_version_wrote_stops_its_own_readers_only(
    own_redis: RedisServer, worker: RedisEventLog, gateway: RedisEventLog
) -> None:
    job, notifier = await begun(worker)
    newer, _ = await begun(worker)
    reader = asyncio.create_task(rest(await gateway.follow(job.id, after=None)))
    behind = asyncio.create_task(rest(await gateway.follow(newer.id, after=None)))
    with Redis.from_url(own_redis.url) as admin:
        admin.xadd(f"sluice:{{{newer.id}}}:log", {"e": '[[null,"later","{}"]]'}, id="1-2")
    with pytest.raises(Unavailable):
        await behind
    with pytest.raises(Unavailable):
        await gateway.follow(newer.id, after=None)
    with pytest.raises(Unavailable):
        await gateway.read(newer.id)
    await notifier.end(DONE)
    assert [each.event for each in await reader] == [FIRST, DONE]


async def test_another_process_ends_the_readers_of_a_deleted_chat(
    worker: RedisEventLog, gateway: RedisEventLog
) -> None:
    job, notifier = await begun(worker)
    reader = asyncio.create_task(rest(await gateway.follow(job.id, after=None)))
    await until(lambda: gateway._follower._task)
    await worker.delete(job.chat_id)
    with pytest.raises(NotFound):
        await reader
    with pytest.raises(Superseded):
        await notifier.end(DONE)


async def test_a_log_is_held_only_while_somebody_reads_it(gateway: RedisEventLog) -> None:
    job, notifier = await begun(gateway)
    readers = [await gateway.follow(job.id, after=None) for _ in range(3)]
    assert len(gateway._follower._logs) == 1
    for reader in readers:
        await anext(reader)
        await reader.aclose()
    del readers, reader
    await until(lambda: not gateway._follower._logs)
    await notifier.end(DONE)
