"""The Redis log while Redis is full, evicts, and is emptied under it."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from redis import Redis

from sluice.application.coalescing import MAX_TOKEN_BYTES
from sluice.domain.errors import StreamLost, Unavailable
from sluice.domain.events import (
    Done,
    Failed,
    Reset,
    StageStarted,
    Token,
)
from sluice.infrastructure.event_log.redis import follower
from sluice.infrastructure.event_log.redis.log import RedisEventLog
from tests.cluster.redis_logs import DONE, FIRST, begun, process, publish_until_refused, rest
from tests.doubles import a_job
from tests.services import RedisServer


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


@pytest.mark.parametrize("lost", [True, False])
async def test_a_job_that_has_not_begun_and_is_no_more_keeps_no_reader(
    own_redis: RedisServer,
    worker: RedisEventLog,
    gateway: RedisEventLog,
    monkeypatch: pytest.MonkeyPatch,
    lost: bool,
) -> None:
    """Redis was emptied, and answers on."""
    monkeypatch.setattr(follower, "_LOOK_INTERVAL_S", 0)
    monkeypatch.setattr(follower, "_READ_BLOCK_S", 0.1)
    await worker.create(job := a_job(), FIRST)
    reader = asyncio.create_task(rest(await gateway.follow(job.id, after=None)))
    await asyncio.sleep(0.3)
    if lost:
        with Redis.from_url(own_redis.url) as admin:
            admin.flushall()
        with pytest.raises(Unavailable, match="lost"):
            await reader
    else:
        await (await worker.begin(job.id)).end(DONE)
        assert [each.event for each in await reader] == [FIRST, DONE]


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
    assert max(len(token.encode()) for token in tokens) <= MAX_TOKEN_BYTES


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
