"""What a gateway that loses its Redis or its life leaves behind, and what workers make of it."""

import asyncio

import pytest
from redis.asyncio import Redis

from sluice.application.process_chat import QUEUED
from sluice.domain.errors import Abandoned, Unavailable
from sluice.infrastructure.event_log.memory import MemoryEventLog
from sluice.infrastructure.jobs.redis.places import Places
from sluice.infrastructure.jobs.redis.queue import StreaqJobQueue
from sluice.infrastructure.jobs.shared import Bounds
from sluice.infrastructure.redis.client import RedisClient
from tests.cluster.conftest import BOUNDS, submitted, taken
from tests.doubles import a_job


async def test_a_job_that_may_have_been_recorded_is_ended_not_run(places: Places) -> None:
    """Its client was told that it was not taken."""
    log, job, undone = MemoryEventLog(), a_job(), asyncio.Event()

    async def record() -> None:
        await log.create(job, QUEUED)
        raise Unavailable

    async def undo() -> None:
        undone.set()

    with pytest.raises(Unavailable):
        await StreaqJobQueue(places, BOUNDS).submit(job, record, undo)
    assert undone.is_set()
    with pytest.raises(Abandoned):
        await StreaqJobQueue(places, BOUNDS).submit(job, record, undo)
    (given,) = await places.give(BOUNDS)
    assert await taken(places, given) == "shutdown"


async def test_a_gateway_that_fails_late_undoes_nothing_of_what_another_one_took(
    places: Places,
) -> None:
    """It was frozen, and its client asked elsewhere."""
    job = a_job()

    async def record() -> None:
        await submitted(places, job)
        raise Unavailable

    async def undo() -> None:
        raise AssertionError

    with pytest.raises(Unavailable):
        await StreaqJobQueue(places, BOUNDS).submit(job, record, undo)
    (given,) = await places.give(BOUNDS)
    assert await taken(places, given) == ""


async def test_what_is_given_out_is_given_out_once(places: Places) -> None:
    job = a_job()
    await submitted(places, job)
    (given,) = await places.give(BOUNDS)
    assert await places.give(BOUNDS) == []
    assert (await places.beat("worker", 2, 60, []))[0] == []  # it may yet be taken
    assert await taken(places, given) == ""


async def test_another_runs_job_is_left_alone(places: Places) -> None:
    job = a_job()
    await submitted(places, job)
    (given,) = await places.give(BOUNDS)
    assert await places.take(given, "frozen") == ""
    assert await places.take(given, "later") == ""
    await places.finish(job.id, "frozen")
    await places.hand_back(job.id, "frozen")
    assert (await places.count()).running == 1
    await places.finish(job.id, "later")
    assert await places.count() == (1, 0, 0)


async def test_an_earlier_round_is_over(places: Places) -> None:
    job = a_job()
    await submitted(places, job)
    (first,) = await places.give(BOUNDS)
    await places.take(first, "run")
    await places.hand_back(job.id, "run")
    (second,) = await places.give(BOUNDS)
    assert await places.take(first, "stray") is None
    assert await taken(places, second) == ""


async def test_who_slept_takes_nothing_from_the_worker_who_has_the_delivery_now(
    places: Places, redis_url: str
) -> None:
    """A worker may be frozen between its look at the lease and the taking."""
    job, group = a_job(), ("queue of {jobs}", "workers")
    await submitted(places, job)
    (given,) = await places.give(BOUNDS)
    async with Redis.from_url(redis_url, decode_responses=True) as redis:
        await redis.xgroup_create(*group, mkstream=True)
        delivery = str(await redis.xadd(group[0], {"job": job.id}))
        await redis.xreadgroup(group[1], "slept", {group[0]: ">"})
        await redis.xclaim(*group, "has it", 0, [delivery])
    assert await places.take(given, "one", (*group, "has it", delivery)) == ""
    assert await places.take(given, "other", (*group, "slept", delivery)) is None
    assert await places.take(given, "other", ("nothing of {jobs}", *group[1:], "a", "1-1")) is None
    await places.hand_back(job.id, "other")
    await places.finish(job.id, "one")
    assert await places.count() == (1, 0, 0)


async def test_a_dead_workers_slots_are_gone_with_it(places: Places) -> None:
    await places.beat("short", 5, 0.01, [])
    await places.gone("worker")
    await asyncio.sleep(0.02)
    assert (await places.count()).workers == 0
    await places.beat("worker", 0, 60, [])
    assert (await places.count()).workers == 0


async def test_who_has_the_fewest_running_goes_first(places: Places) -> None:
    jobs = [a_job(chat_id=f"ann-{n}", user="ann") for n in range(5)]
    jobs.append(a_job(chat_id="bob", user="bob"))
    await submitted(places, *jobs)
    first, second = await places.give(BOUNDS)
    for given in (first, second):
        await places.take(given, given.job)
    await places.finish(first.job, first.job)
    (third,) = await places.give(BOUNDS)
    assert third.job == jobs[-1].id


async def test_nothing_is_left_of_what_is_over(places: Places, redis_url: str) -> None:
    jobs = [a_job(chat_id=f"chat-{n % 2}") for n in range(6)]
    await submitted(places, *jobs)
    await places.cancel(jobs[4].id, "user")
    for _ in jobs:
        for given in await places.give(BOUNDS):
            await places.take(given, given.job)
            await places.finish(given.job, given.job)
    assert await places.count() == (1, 0, 0)
    await places.gone("worker")
    server = RedisClient.at(redis_url)
    assert await server.ask("KEYS", "sluice:{jobs}:*") == [b"sluice:{jobs}:arrivals"]
    await server.aclose()


async def test_a_chats_second_question_waits_for_its_first(places: Places) -> None:
    """Also while the first is still being recorded, and a place has become free."""
    bounds = Bounds(running=1)
    busy, first, second = a_job(chat_id="other"), a_job(), a_job()
    await submitted(places, busy)
    await places.beat("worker", 1, 60, [])
    (given,) = await places.give(bounds)
    await places.take(given, "run")
    await places.admit(first, bounds, "enqueue")
    await places.admit(second, bounds, "enqueue")
    await places.ready(second.id)
    await places.finish(busy.id, "run")
    assert await places.give(bounds) == []
    await places.ready(first.id)
    assert [given.job for given in await places.give(bounds)] == [first.id]


async def test_who_comes_late_does_not_get_the_place_of_who_waits(places: Places) -> None:
    await places.beat("worker", 1, 60, [])
    busy, waits, late = (a_job(chat_id=f"chat {n}") for n in range(3))
    await submitted(places, busy, waits)
    (given,) = await places.give(BOUNDS)
    await places.take(given, "run")
    await places.finish(busy.id, "run")
    await submitted(places, late)
    assert [given.job for given in await places.give(BOUNDS)] == [waits.id]
