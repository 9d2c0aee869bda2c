"""The Redis log while Redis is cut off, frozen, full, and emptied under it."""

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any

import pytest
from redis import Redis

from sluice.application.wire import MAX_TOKEN
from sluice.domain.chat import Job
from sluice.domain.errors import NotFound, StreamLost, Superseded, Unavailable
from sluice.domain.events import (
    Cancelled,
    Done,
    Event,
    Failed,
    Recorded,
    Reset,
    StageCompleted,
    StageStarted,
    Token,
)
from sluice.domain.ports import NotifierPort
from sluice.infrastructure.event_log.redis import follower as feed
from sluice.infrastructure.event_log.redis.log import RedisEventLog
from sluice.infrastructure.event_log.redis.scripts import BEGIN
from sluice.infrastructure.redis.client import RedisClient
from tests.doubles import a_job
from tests.services import RedisServer
from tests.waiting import until

FIRST = StageCompleted("queued", 0)
DONE = Done("A2", "answer")


@asynccontextmanager
async def process(url: str) -> AsyncIterator[RedisEventLog]:
    """A log as one process of the service has it."""
    server = RedisClient.at(url)
    log = RedisEventLog(server)
    yield log
    await log.aclose()
    await server.aclose()


@pytest.fixture
async def worker(own_redis: RedisServer) -> AsyncIterator[RedisEventLog]:
    with Redis.from_url(own_redis.url) as admin:
        admin.flushall()
        admin.config_set("maxmemory", 0)
    async with process(own_redis.url) as log:
        yield log


@pytest.fixture
async def gateway(own_redis: RedisServer) -> AsyncIterator[RedisEventLog]:
    async with process(own_redis.url) as log:
        yield log


async def begun(log: RedisEventLog) -> tuple[Job, NotifierPort]:
    job = a_job()
    await log.create(job, FIRST)
    return job, await log.begin(job.id)


async def rest(batches: AsyncGenerator[Sequence[Recorded], None]) -> list[Recorded]:
    async with asyncio.timeout(20), aclosing(batches):
        return [recorded async for batch in batches for recorded in batch]


async def publish_until_refused(notifier: NotifierPort, event: Event) -> None:
    """A refusal is told with one of the next events."""
    async with asyncio.timeout(10):
        while True:
            notifier.publish(event)
            await asyncio.sleep(0.01)


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
    monkeypatch.setattr(feed, "_PAGE", 2)
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
    monkeypatch.setattr(feed, "_PAGE", 2)
    monkeypatch.setattr(feed, "_TICK", 60)  # what this gateway has is old
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
    monkeypatch.setattr(feed, "_TICK", 60)
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

    monkeypatch.setattr(gateway._feed, "read", look)
    monkeypatch.setattr(gateway._feed, "_interrupt", at_once)
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


async def test_cut_connections_lose_and_repeat_nothing(
    own_redis: RedisServer, worker: RedisEventLog, gateway: RedisEventLog
) -> None:
    job, notifier = await begun(worker)
    reader = asyncio.create_task(rest(await gateway.follow(job.id, after=None)))
    tokens = [Token(f"{number} ", "answer") for number in range(1000)]
    with Redis.from_url(own_redis.url) as admin:
        for number, token in enumerate(tokens):
            notifier.publish(token)
            await asyncio.sleep(0.001)
            if number % 50 == 7:
                admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await notifier.end(DONE)
    got = await reader
    assert [each.event for each in got] == [FIRST, *tokens, DONE]
    assert [each.id.seq for each in got] == list(range(1, 1003))


async def test_a_frozen_redis_delays_and_loses_nothing(
    own_redis: RedisServer, worker: RedisEventLog, gateway: RedisEventLog
) -> None:
    """Frozen for longer than anybody waits for an answer."""
    job, notifier = await begun(worker)
    reader = asyncio.create_task(rest(await gateway.follow(job.id, after=None)))
    with own_redis.frozen():
        for number in range(20):
            notifier.publish(Token(f"{number}", "answer"))
            await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await gateway.create(a_job(), FIRST)
        for number in range(20, 40):
            notifier.publish(Token(f"{number}", "answer"))
    await notifier.end(DONE)
    texts = [each.event.content for each in await reader if isinstance(each.event, Token)]
    assert texts == [f"{number}" for number in range(40)]


async def asked_of_the_frozen(log: RedisEventLog, job: Job) -> asyncio.Task[NotifierPort]:
    """Redis has the question still when nobody waits for its answer any more."""
    beginning = asyncio.create_task(log.begin(job.id, after=0))
    _, still = await asyncio.wait([beginning], timeout=3.5)
    assert still
    return beginning


async def test_an_attempt_whose_answer_is_lost_in_a_freeze_is_begun_once(
    own_redis: RedisServer, worker: RedisEventLog, gateway: RedisEventLog
) -> None:
    await begun(worker)  # Redis knows the script
    await worker.create(job := a_job(), FIRST)
    with own_redis.frozen():
        beginning = await asked_of_the_frozen(worker, job)
    assert (await beginning).attempt == await gateway.attempts(job.id) == 1


async def test_an_answer_that_comes_late_does_not_end_the_attempt_begun_since(
    worker: RedisEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await worker.create(job := a_job(), FIRST)
    answered, go_on, run = asyncio.Event(), asyncio.Event(), RedisClient.run

    async def slow(server: RedisClient, script: str, *given: Any) -> Any:
        answer = await run(server, script, *given)
        if script is BEGIN and not answered.is_set():
            answered.set()
            await go_on.wait()
        return answer

    monkeypatch.setattr(RedisClient, "run", slow)
    late = asyncio.create_task(worker.begin(job.id, after=0))
    await answered.wait()
    notifier = await worker.begin(job.id, after=1)
    go_on.set()
    with pytest.raises(Superseded):
        await late
    await notifier.end(DONE)


async def test_what_keeps_an_attempt_from_beginning_is_told(
    own_redis: RedisServer, worker: RedisEventLog, caplog: pytest.LogCaptureFixture
) -> None:
    await worker.create(job := a_job(), FIRST)
    with Redis.from_url(own_redis.url) as admin:
        admin.config_set("maxmemory", 1)
        beginning = asyncio.create_task(worker.begin(job.id))
        await asyncio.wait([beginning], timeout=0.5)
        admin.config_set("maxmemory", 0)
    assert (await beginning).attempt == 1
    assert caplog.text.count("the log cannot be written") == 1


async def test_an_attempt_that_cannot_be_begun_keeps_no_worker_from_leaving(
    own_redis: RedisServer, worker: RedisEventLog
) -> None:
    await worker.create(job := a_job(), FIRST)
    with own_redis.frozen():
        beginning = await asked_of_the_frozen(worker, job)
        await worker.aclose()
        with pytest.raises(Unavailable):
            await beginning


async def test_an_emptied_redis_ends_the_job_in_stream_lost(
    own_redis: RedisServer, worker: RedisEventLog, gateway: RedisEventLog
) -> None:
    job, notifier = await begun(worker)
    notifier.publish(Token("a", "answer"))
    reader = asyncio.create_task(rest(await gateway.follow(job.id, after=None)))
    own_redis.stop()
    own_redis.start()
    with pytest.raises(StreamLost):
        await publish_until_refused(notifier, Token("b", "answer"))
    failed = Failed.of(StreamLost(), job.request_id)
    await notifier.end(failed)
    with suppress(Unavailable):  # it was sent away, or it saw the new log
        assert (await reader)[-1].event == failed
    assert [(str(each.id), each.event) for each in (await gateway.read(job.id)).events] == [
        ("2-1", Reset("new_attempt")),
        ("2-2", failed),
    ]
    assert await gateway.unfinished() == []


async def test_an_answer_that_was_complete_outlives_its_log(
    own_redis: RedisServer, worker: RedisEventLog, gateway: RedisEventLog
) -> None:
    job, notifier = await begun(worker)
    notifier.publish(Token("ans", "answer"))
    with Redis.from_url(own_redis.url) as admin:
        admin.flushall()
    await notifier.end(Token("wer", "answer"), DONE)
    got = await rest(await gateway.follow(job.id, after=None))
    assert [each.event for each in got] == [Reset("new_attempt"), Token("answer", ""), DONE]


async def test_an_answer_that_is_told_anew_has_no_longer_tokens_than_others(
    own_redis: RedisServer, worker: RedisEventLog, gateway: RedisEventLog
) -> None:
    job, notifier = await begun(worker)
    with Redis.from_url(own_redis.url) as admin:
        admin.flushall()
    answer = "무" * 100_000
    await notifier.end(Done("A2", answer))
    got = await rest(await gateway.follow(job.id, after=None))
    tokens = [each.event.content for each in got if isinstance(each.event, Token)]
    assert "".join(tokens) == answer
    assert max(len(token.encode()) for token in tokens) <= MAX_TOKEN


async def test_a_log_that_lost_its_end_is_not_continued(
    own_redis: RedisServer, worker: RedisEventLog
) -> None:
    """As after a failover to a replica that was behind."""
    job, notifier = await begun(worker)
    notifier.publish(StageStarted("answer", 0))
    await worker.read(job.id)
    with Redis.from_url(own_redis.url) as admin:
        admin.hset(f"sluice:{{{job.id}}}:job", "last", "1-1")
    notifier.publish(Token("a", "answer"))
    await worker.read(job.id)
    with pytest.raises(StreamLost):
        notifier.publish(Token("b", "answer"))


async def test_a_log_that_was_evicted_under_its_job_is_lost_and_told_anew(
    own_redis: RedisServer, worker: RedisEventLog, gateway: RedisEventLog
) -> None:
    """Its header may be there still: eviction takes one key at a time."""
    job, notifier = await begun(worker)
    notifier.publish(Token("an", "answer"))
    await worker.read(job.id)
    with Redis.from_url(own_redis.url) as admin:
        admin.delete(f"sluice:{{{job.id}}}:log")
    await notifier.end(Token("swer", "answer"), DONE)
    got = await rest(await gateway.follow(job.id, after=None))
    assert [each.event for each in got] == [Reset("new_attempt"), Token("answer", ""), DONE]


async def test_a_full_redis_refuses_new_jobs_and_loses_nothing_of_the_old(
    own_redis: RedisServer, worker: RedisEventLog, gateway: RedisEventLog
) -> None:
    job, notifier = await begun(worker)
    with Redis.from_url(own_redis.url) as admin:
        admin.config_set("maxmemory", 1)
        with pytest.raises(Unavailable):
            await worker.check()
        with pytest.raises(Unavailable):
            await worker.create(a_job(), FIRST)
        notifier.publish(Token("a", "answer"))
        publishing = asyncio.create_task(notifier.end(DONE))
        await asyncio.sleep(0)
        admin.config_set("maxmemory", 0)
    await publishing
    got = await rest(await gateway.follow(job.id, after=None))
    assert [each.event for each in got] == [FIRST, Token("a", "answer"), DONE]


async def test_an_evicting_redis_is_refused_with_its_reason(
    own_redis: RedisServer, worker: RedisEventLog
) -> None:
    await worker.check()
    with Redis.from_url(own_redis.url) as admin:
        admin.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(Unavailable, match="maxmemory-policy is allkeys-lru"):
                await worker.check()
        finally:
            admin.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize(
    ("setting", "refusing", "told"),
    [
        ("maxmemory", 1, "is full"),
        ("requirepass", "secret", "refuses the password"),
        ("min-replicas-to-write", 1, "refuses a command"),
    ],
)
async def test_a_redis_that_refuses_is_not_called_away(
    own_redis: RedisServer, setting: str, refusing: Any, told: str
) -> None:
    with Redis.from_url(own_redis.url) as admin:
        was = admin.config_get(setting)[setting]
        admin.config_set(setting, refusing)
        try:
            async with process(own_redis.url) as log:
                with pytest.raises(Unavailable, match=f"^Redis {told}$"):
                    await log.check()
        finally:
            admin.config_set(setting, was)


@pytest.mark.parametrize("last", [Token("zombie", "answer"), Cancelled("user")])
async def test_a_worker_that_wakes_up_after_a_takeover_is_fenced_off(
    worker: RedisEventLog, gateway: RedisEventLog, last: Event
) -> None:
    """Two processes: the first learns of the second from Redis only."""
    job, zombie = await begun(worker)
    zombie.publish(Token("a", "answer"))
    await worker.read(job.id)
    later = await gateway.begin(job.id)
    later.publish(Reset("new_attempt"))
    with pytest.raises(Superseded):
        await publish_until_refused(zombie, last)
    await later.end(DONE)
    got = await rest(await worker.follow(job.id, after=None))
    assert [each.event for each in got] == [FIRST, Token("a", "answer"), Reset("new_attempt"), DONE]


async def test_another_process_ends_the_readers_of_a_deleted_chat(
    worker: RedisEventLog, gateway: RedisEventLog
) -> None:
    job, notifier = await begun(worker)
    reader = asyncio.create_task(rest(await gateway.follow(job.id, after=None)))
    await until(lambda: gateway._feed._task)
    await worker.delete(job.chat_id)
    with pytest.raises(NotFound):
        await reader
    with pytest.raises(Superseded):
        await notifier.end(DONE)


async def test_a_log_is_held_only_while_somebody_reads_it(gateway: RedisEventLog) -> None:
    job, notifier = await begun(gateway)
    readers = [await gateway.follow(job.id, after=None) for _ in range(3)]
    assert len(gateway._feed._tails) == 1
    for reader in readers:
        await anext(reader)
        await reader.aclose()
    del readers, reader
    await until(lambda: not gateway._feed._tails)
    await notifier.end(DONE)
