"""The scheduler in Redis: who may claim what, and what becomes of it when somebody dies."""

import asyncio

import pytest

from sluice.application.scheduling import Bounds
from sluice.domain.errors import Abandoned, Unavailable
from sluice.domain.events import QUEUED
from sluice.infrastructure.event_log.memory import MemoryEventLog
from sluice.infrastructure.jobs.redis.queue import RedisJobQueue
from sluice.infrastructure.jobs.redis.scheduler import Held, RedisScheduler
from sluice.infrastructure.redis.client import RedisClient
from tests.cluster.conftest import BOUNDS, claimed, finished, submitted
from tests.doubles import a_job


async def lapses(redis_url: str, scheduler: RedisScheduler, seconds: float) -> None:
    """A worker lives so long on, and renews no lease of another one's."""
    server = RedisClient.at(redis_url)
    await server.ask("HINCRBY", "sluice:{jobs}:clock", "ms", int(seconds * 1000))
    await server.aclose()
    await scheduler.beat("worker", 2, 60, [])


async def test_a_job_that_may_have_been_recorded_is_ended_not_run(
    scheduler: RedisScheduler,
) -> None:
    """Its client was told that it was not taken."""
    log, job, undone = MemoryEventLog(), a_job(), asyncio.Event()

    async def record() -> None:
        await log.create(job, QUEUED)
        raise Unavailable

    async def undo() -> None:
        undone.set()

    with pytest.raises(Unavailable):
        await RedisJobQueue(scheduler, BOUNDS).submit(job, record, undo)
    assert undone.is_set()
    with pytest.raises(Abandoned):
        await RedisJobQueue(scheduler, BOUNDS).submit(job, record, undo)
    assert await claimed(scheduler) == [(job.id, "shutdown", 0)]


async def test_a_gateway_that_fails_late_undoes_nothing_of_what_another_one_took(
    scheduler: RedisScheduler,
) -> None:
    """It was frozen, and its client asked elsewhere."""
    job = a_job()

    async def record() -> None:
        await submitted(scheduler, job)
        raise Unavailable

    async def undo() -> None:
        raise AssertionError

    with pytest.raises(Unavailable):
        await RedisJobQueue(scheduler, BOUNDS).submit(job, record, undo)
    assert await claimed(scheduler) == [(job.id, None, 0)]


async def test_a_job_is_claimed_once(scheduler: RedisScheduler) -> None:
    await submitted(scheduler, job := a_job())
    assert await claimed(scheduler) == [(job.id, None, 0)]
    assert await claimed(scheduler, "another") == []


async def test_a_claim_whose_answer_was_lost_is_answered_again(scheduler: RedisScheduler) -> None:
    await submitted(scheduler, job := a_job())
    assert await claimed(scheduler) == [(job.id, None, 0)]
    assert await claimed(scheduler) == [(job.id, None, 0)]


async def test_a_claim_takes_no_more_than_there_are_slots_for(scheduler: RedisScheduler) -> None:
    jobs = [a_job(chat_id=f"chat-{n}", user=f"user-{n}") for n in range(4)]
    await submitted(scheduler, *jobs)
    await scheduler.cancel(jobs[3].id, "user")
    limits = {"bounds": BOUNDS, "lease_s": 60}
    assert await scheduler.claim("worker", "none", slots=0, ends=0, **limits) == []  # type: ignore[arg-type]
    one = await scheduler.claim("worker", "one", slots=1, ends=1, **limits)  # type: ignore[arg-type]
    assert one == [(jobs[0].id, None, 0), (jobs[3].id, "user", 0)]


async def test_what_another_claim_holds_is_left_alone(
    scheduler: RedisScheduler, redis_url: str
) -> None:
    """A worker was frozen for longer than its lease, and wakes up."""
    await submitted(scheduler, job := a_job())
    assert await claimed(scheduler, "frozen") == [(job.id, None, 0)]
    await lapses(redis_url, scheduler, 60)
    await scheduler.finish(Held(job.id, "frozen"))
    assert await claimed(scheduler, "later") == [(job.id, None, 0)]
    await scheduler.finish(Held(job.id, "frozen"))
    await scheduler.release(Held(job.id, "frozen"), returned=True)
    beat = await scheduler.beat("worker", 2, 60, [Held(job.id, "frozen"), Held(job.id, "later")])
    assert beat.told == ["lost", None]
    assert (await scheduler.count()).running == 1
    await scheduler.finish(Held(job.id, "later"))
    assert await scheduler.count() == (1, 0, 0, 0, 0)


async def test_a_lease_that_is_renewed_does_not_lapse(
    scheduler: RedisScheduler, redis_url: str
) -> None:
    await submitted(scheduler, job := a_job())
    await claimed(scheduler)
    for _ in range(3):
        await lapses(redis_url, scheduler, 40)
        assert (await scheduler.beat("worker", 2, 60, [Held(job.id, "claim")])).told == [None]
    assert await claimed(scheduler, "another") == []


async def test_while_redis_is_away_no_lease_lapses(
    scheduler: RedisScheduler, redis_url: str
) -> None:
    """Nobody could renew it; nor does a clock that jumps count."""
    await submitted(scheduler, job := a_job())
    await claimed(scheduler)
    server = RedisClient.at(redis_url)
    await server.ask("HINCRBY", "sluice:{jobs}:clock", "at", -3_600_000)
    await server.aclose()
    beat = await scheduler.beat("another worker", 2, 60, [])
    assert not beat.claimable
    assert (await scheduler.beat("worker", 2, 60, [Held(job.id, "claim")])).told == [None]


async def test_what_is_handed_back_is_claimed_next_and_its_attempt_does_not_count(
    scheduler: RedisScheduler,
) -> None:
    jobs = [a_job(chat_id=f"chat-{n}", user=f"user-{n}") for n in range(3)]
    await submitted(scheduler, *jobs)
    first, second = await claimed(scheduler)
    await scheduler.release(Held(second.job_id, "claim"), returned=True)
    assert await claimed(scheduler, "two") == [(second.job_id, None, 1)]
    await scheduler.release(Held(second.job_id, "two"))
    assert await claimed(scheduler, "three") == [(second.job_id, None, 1)]
    assert [first.job_id, second.job_id] == [job.id for job in jobs[:2]]


@pytest.mark.parametrize("lapsed", [False, True])
async def test_what_is_cancelled_when_its_worker_is_lost_or_leaves_is_only_ended(
    scheduler: RedisScheduler, redis_url: str, lapsed: bool
) -> None:
    await submitted(scheduler, job := a_job())
    await claimed(scheduler)
    await scheduler.cancel(job.id, "user")
    if lapsed:
        await lapses(redis_url, scheduler, 60)
    else:
        await scheduler.release(Held(job.id, "claim"))
    assert await scheduler.count() == (1, 0, 0, 1, 0)
    assert await claimed(scheduler, "another") == [(job.id, "user", 0)]


async def test_an_end_that_nobody_wrote_is_claimed_again(
    scheduler: RedisScheduler, redis_url: str
) -> None:
    """Whoever was to write it was killed."""
    await submitted(scheduler, job := a_job())
    await scheduler.cancel(job.id, "user")
    assert await claimed(scheduler) == [(job.id, "user", 0)]
    await lapses(redis_url, scheduler, 60)
    assert await claimed(scheduler, "another") == [(job.id, "user", 0)]


async def test_a_dead_workers_slots_are_gone_with_it(scheduler: RedisScheduler) -> None:
    await scheduler.beat("short", 5, 0.01, [])
    await scheduler.gone("worker")
    await asyncio.sleep(0.02)
    assert (await scheduler.count()).workers == 0
    await scheduler.beat("worker", 0, 60, [])
    assert (await scheduler.count()).workers == 0


async def test_a_gateway_that_died_while_it_recorded_leaves_nothing_behind(
    scheduler: RedisScheduler, redis_url: str
) -> None:
    await scheduler.admit(job := a_job(), BOUNDS, "enqueue")
    await lapses(redis_url, scheduler, 31)
    assert await claimed(scheduler) == [(job.id, "shutdown", 0)]
    await finished(scheduler, job.id)
    with pytest.raises(Abandoned):
        await scheduler.ready(job.id)
    assert await scheduler.admit(job, BOUNDS, "enqueue") == "abandoned"


async def test_nothing_is_left_of_what_is_over(scheduler: RedisScheduler, redis_url: str) -> None:
    jobs = [a_job(chat_id=f"chat-{n % 2}") for n in range(6)]
    await submitted(scheduler, *jobs)
    await scheduler.cancel(jobs[4].id, "user")
    for n in range(len(jobs)):
        for each in await claimed(scheduler, f"{n}"):
            await finished(scheduler, each.job_id, f"{n}")
    assert await scheduler.count() == (1, 0, 0, 0, 0)
    await scheduler.gone("worker")
    server = RedisClient.at(redis_url)
    left = {key.decode() for key in await server.ask("KEYS", "sluice:{jobs}:*")}
    assert left == {"sluice:{jobs}:arrivals", "sluice:{jobs}:clock"}
    await server.aclose()


async def test_who_comes_late_does_not_get_the_slot_of_who_waits(
    scheduler: RedisScheduler,
) -> None:
    await scheduler.beat("worker", 1, 60, [])
    busy, waits, late = (a_job(chat_id=f"chat {n}") for n in range(3))
    await submitted(scheduler, busy, waits)
    await claimed(scheduler)
    await finished(scheduler, busy.id)
    await submitted(scheduler, late)
    assert await claimed(scheduler, "next", Bounds(running=1)) == [(waits.id, None, 0)]
