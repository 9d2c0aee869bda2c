"""The Redis log while Redis is cut off or frozen: nothing is lost, and no attempt begun twice."""

import asyncio
from typing import Any

import pytest
from redis import Redis

from sluice.domain.chat import Job
from sluice.domain.errors import Superseded, Unavailable
from sluice.domain.events import (
    Cancelled,
    Event,
    Reset,
    Token,
)
from sluice.domain.ports import NotifierPort
from sluice.infrastructure.event_log.redis.log import RedisEventLog
from sluice.infrastructure.event_log.redis.scripts import BEGIN
from sluice.infrastructure.redis.client import RedisClient
from tests.cluster.redis_logs import DONE, FIRST, begun, publish_until_refused, rest
from tests.doubles import a_job
from tests.services import RedisServer


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
