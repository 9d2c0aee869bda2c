"""The queue of this process: every bound, and one job at a time in a chat."""

import asyncio

import pytest

from sluice.application.scheduling import Bounds
from sluice.domain.chat import Job
from sluice.domain.errors import Conflict, LimitReached
from tests.doubles import a_job
from tests.queue_bench import Benches
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("no_task_left")


def a_chat_each(count: int, **fields: str) -> list[Job]:
    return [a_job(id=f"job-{n}", chat_id=f"chat-{n}", **fields) for n in range(count)]


def a_user_each(count: int) -> list[Job]:
    return [a_job(id=f"job-{n}", chat_id=f"chat-{n}", user=f"user-{n}") for n in range(count)]


async def test_a_job_runs_at_once_where_there_is_room(bench_of: Benches) -> None:
    bench = bench_of()
    await bench.submit(job := a_job())
    await until(lambda: bench.runs.started == [job.id])
    assert (bench.queue.running, bench.queue.queued) == (1, 0)
    await bench.runs.finish(job)
    assert (bench.queue.running, bench.queue.queued) == (0, 0)


async def test_beyond_the_running_jobs_the_others_wait_and_the_oldest_goes_first(
    bench_of: Benches,
) -> None:
    bench = bench_of(Bounds(running=2))
    jobs = a_user_each(5)
    await bench.submit(*jobs)
    await until(lambda: len(bench.runs.started) == 2)
    assert (bench.queue.running, bench.queue.queued) == (2, 3)
    await bench.runs.finish(jobs[1])
    await until(lambda: bench.runs.started == ["job-0", "job-1", "job-2"])
    await bench.runs.finish(jobs[0], jobs[2])
    await until(lambda: bench.runs.started == [job.id for job in jobs])


async def test_beyond_the_services_queue_it_is_busy(bench_of: Benches) -> None:
    bench = bench_of(Bounds(running=1, queued=2))
    *fitting, beyond = a_user_each(4)
    await bench.submit(*fitting)
    with pytest.raises(LimitReached) as busy:
        await bench.submit(beyond)
    assert (busy.value.per_user, busy.value.retry_after > 0) == (False, True)
    await bench.runs.finish(fitting[0])
    await bench.submit(beyond)
    assert bench.queue.queued == 2


async def test_beyond_a_users_running_jobs_only_that_users_wait(bench_of: Benches) -> None:
    bench = bench_of(Bounds(user_running=1))
    anns, bobs = a_chat_each(2, user="ann"), a_job(id="bob", chat_id="bob", user="bob")
    await bench.submit(*anns, bobs)
    await until(lambda: bench.runs.started == ["job-0", "bob"])
    await bench.runs.finish(bobs)
    assert bench.runs.active == ["job-0"]
    await bench.runs.finish(anns[0])
    await until(lambda: bench.runs.active == ["job-1"])


async def test_beyond_a_users_queue_the_user_is_told_to_wait_and_others_are_not(
    bench_of: Benches,
) -> None:
    bench = bench_of(Bounds(running=9, user_running=1, user_queued=1))
    running, waiting, beyond = a_chat_each(3, user="ann")
    await bench.submit(running, waiting)
    with pytest.raises(LimitReached) as busy:
        await bench.submit(beyond)
    assert (busy.value.per_user, busy.value.retry_after > 0) == (True, True)
    await bench.submit(a_job(user="bob", chat_id="bob"))


async def test_without_bounds_per_user_one_user_may_have_everything(bench_of: Benches) -> None:
    bench = bench_of(Bounds(running=5, queued=20, user_running=None, user_queued=None))
    await bench.submit(*a_chat_each(25))
    await until(lambda: len(bench.runs.active) == 5)
    with pytest.raises(LimitReached):
        await bench.submit(a_job(chat_id="other"))


async def test_a_full_queue_does_not_refuse_who_need_not_wait(bench_of: Benches) -> None:
    bench = bench_of(Bounds(running=5, queued=1, user_running=1))
    await bench.submit(*a_chat_each(2, user="ann"))
    await bench.submit(a_job(id="bob", chat_id="bob", user="bob"))
    await until(lambda: bench.runs.started == ["job-0", "bob"])


async def test_a_crowd_that_comes_at_once_is_bounded_like_one_that_comes_in_turn(
    bench_of: Benches,
) -> None:
    """While a job is being recorded its place is taken, also its place among the running."""
    bench = bench_of(Bounds(running=2, queued=3))
    written = asyncio.Event()

    async def record() -> None:
        await written.wait()

    crowd = [asyncio.create_task(bench.submit(job, record=record)) for job in a_user_each(20)]
    await until(lambda: sum(task.done() for task in crowd) == 15)
    written.set()
    await asyncio.wait(crowd)
    refused = [task.exception() for task in crowd if task.exception()]
    assert [type(error) for error in refused] == [LimitReached] * 15
    await until(lambda: len(bench.runs.active) == 2)
    assert (bench.queue.running, bench.queue.queued) == (2, 3)


async def test_in_a_chat_one_job_runs_at_a_time_in_the_order_they_came(
    bench_of: Benches,
) -> None:
    bench = bench_of()
    jobs = [a_job(id=f"job-{n}") for n in range(3)]
    await bench.submit(*jobs)
    for job in jobs:
        await until(lambda job=job: bench.runs.active == [job.id])  # type: ignore[misc]
        await bench.runs.finish(job)
    assert bench.runs.started == ["job-0", "job-1", "job-2"]


async def test_a_waiting_chat_holds_up_no_other(bench_of: Benches) -> None:
    bench = bench_of(Bounds(running=2))
    first, second, other = a_job(id="a"), a_job(id="b"), a_job(id="c", chat_id="other")
    await bench.submit(first, second, other)
    await until(lambda: bench.runs.active == ["a", "c"])


async def test_a_busy_chat_may_refuse(bench_of: Benches) -> None:
    bench = bench_of(when_busy="reject")
    await bench.submit(first := a_job())
    with pytest.raises(Conflict):
        await bench.submit(a_job())
    await bench.submit(a_job(chat_id="other"))
    await bench.runs.finish(first)
    await bench.submit(a_job())


async def test_a_busy_chat_may_be_interrupted(bench_of: Benches) -> None:
    bench = bench_of(when_busy="interrupt")
    first, second, other = a_job(id="a"), a_job(id="b"), a_job(id="c", chat_id="other")
    await bench.submit(other, first)
    await until(lambda: len(bench.runs.active) == 2)
    await bench.submit(second)
    await until(lambda: bench.runs.active == ["c", "b"])
    assert bench.runs.ends == {"a": "user"}


async def test_interruptions_that_come_at_once_leave_the_last_one_running(
    bench_of: Benches,
) -> None:
    bench = bench_of(when_busy="interrupt")
    jobs = [a_job(id=f"job-{n}") for n in range(5)]
    await asyncio.gather(*(bench.submit(job) for job in jobs))
    await until(lambda: len(bench.runs.ends) == 4)
    await until(lambda: bench.runs.active == ["job-4"])
    assert set(bench.runs.ends.values()) == {"user"}


async def test_who_is_refused_interrupts_nobody(bench_of: Benches) -> None:
    bench = bench_of(Bounds(running=1, queued=1), when_busy="interrupt")
    await bench.submit(a_job(id="a"), a_job(id="other", chat_id="other", user="bob"))
    with pytest.raises(LimitReached):
        await bench.submit(a_job(id="b"))
    await until(lambda: bench.runs.active == ["a"])
