"""What every store of the log promises of a job that is created: it is there once, as it was."""

import asyncio
from collections.abc import Awaitable

import pytest

from sluice.application.ports import EventLogPort
from sluice.domain.chat import Job, new_id
from sluice.domain.errors import NotFound
from sluice.domain.events import (
    Cursor,
    Recorded,
    Token,
)
from sluice.domain.rollout import Flag
from tests.contract.event_log.stores import (
    DONE,
    FIRST,
    Store,
    a_job,
    a_script,
    assert_same,
    followed,
    of,
)


async def test_the_log_begins_with_the_event_it_was_created_with(log: EventLogPort) -> None:
    job = a_job()
    await log.create(job, FIRST)
    assert await log.job(job.id) == job
    assert (await log.read(job.id)).events == [Recorded(Cursor(1, 1), FIRST)]
    assert not await log.is_paused(job.id)


@pytest.mark.parametrize("rollout", [None, "r"])
async def test_a_job_comes_back_as_it_was_with_the_flag_it_was_drawn_by(
    store: Store, rollout: str | None
) -> None:
    flag = Flag(12.5, "control", "control", rollout)
    job = Job(new_id(), "c", "u", "A2", "왜?", "r", "m", {"a": [1]}, "j", flag=flag)
    await store.log.create(job, FIRST)
    assert await (await store.fresh()).job(job.id) == job
    assert await store.log.unfinished() == [job]


async def test_a_job_of_an_earlier_version_has_no_flag(store: Store) -> None:
    job = Job(new_id(), "c", "u", "A2", "why?", "r")
    await store.log.create(job, FIRST)
    assert (await (await store.fresh()).job(job.id)).flag is None


async def test_creating_a_job_again_changes_nothing(store: Store) -> None:
    script = await a_script(store.log)
    for log in (store.log, await store.fresh()):
        await log.create(script.job, FIRST)
        assert_same((await log.read(script.job.id)).events, script.records)


async def test_equal_creations_at_once_make_one_log(log: EventLogPort) -> None:
    job = a_job()
    await asyncio.gather(*(log.create(job, FIRST) for _ in range(10)))
    notifier = await log.begin(job.id)
    await notifier.end(DONE)
    assert [each.id for each in await followed(log, job)] == [(1, 1), (1, 2)]


async def test_an_unknown_job_is_not_found(log: EventLogPort) -> None:
    def follow(job_id: str) -> Awaitable[object]:
        return log.follow(job_id, after=None)

    for call in (*of(log), follow):
        with pytest.raises(NotFound):
            await call("nowhere")


async def test_an_open_store_is_well(log: EventLogPort) -> None:
    await log.check()


async def test_unfinished_jobs_are_listed_oldest_first(store: Store) -> None:
    jobs = [a_job(chat_id) for chat_id in "abaca"]
    for job in jobs:
        await store.log.create(job, FIRST)
    await (await store.log.begin(jobs[2].id)).end(DONE)
    (await store.log.begin(jobs[3].id)).publish(Token("a", "answer"))
    for log in (store.log, await store.fresh()):
        assert await log.unfinished() == [jobs[0], jobs[1], jobs[3], jobs[4]]
        assert await log.unfinished("a") == [jobs[0], jobs[4]]
        assert await log.unfinished("nowhere") == []
