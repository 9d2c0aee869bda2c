"""Who cancels a job of a durable queue that leaves: what was promised then is written."""

import asyncio

import pytest

from sluice.application.ports import Stop
from sluice.application.scheduling import Bounds
from sluice.domain.chat import Job
from sluice.infrastructure.jobs.inline.queue import InlineJobQueue
from tests.doubles import a_job
from tests.queue_bench import Benches, recorded
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("no_task_left")


async def test_a_job_that_waits_for_a_human_can_be_cancelled_while_its_queue_drains(
    bench_of: Benches,
) -> None:
    bench = bench_of(durable=True)
    await bench.submit(paused := a_job(), running := a_job(id="running", chat_id="another"))
    bench.runs.pause(paused.id)
    await until(lambda: not bench.runs.is_pausing(paused.id))
    draining = asyncio.create_task(bench.queue.drain(grace=60))
    await asyncio.sleep(0)
    await bench.queue.cancel(paused.id, "user")
    assert bench.runs.ends == {paused.id: "user"}
    await bench.runs.finish(running)
    await draining


async def test_a_job_that_pauses_in_a_draining_queue_can_be_cancelled_behind_it(
    bench_of: Benches,
) -> None:
    bench = bench_of(durable=True)
    await bench.submit(job := a_job())
    await until(lambda: bench.runs.active)
    draining = asyncio.create_task(bench.queue.drain(grace=60))
    await asyncio.sleep(0)
    bench.runs.pause(job.id)
    await draining
    await bench.queue.cancel(job.id, "user")
    assert bench.runs.ends == {job.id: "user"}


async def test_a_paused_job_that_nobody_cancels_is_the_next_starts(bench_of: Benches) -> None:
    bench = bench_of(durable=True)
    await bench.submit(job := a_job())
    bench.runs.pause(job.id, seconds=0.5)  # longer than it takes to drain on a busy machine
    await until(lambda: not bench.runs.is_pausing(job.id))
    await bench.queue.drain(grace=0)
    await bench.queue.wake(job.id)
    await asyncio.sleep(0.6)
    assert (bench.runs.started, bench.runs.ends, bench.queue.running) == ([], {}, 0)


async def test_an_end_that_is_being_written_is_not_stopped_when_the_grace_is_over() -> None:
    writing, written = asyncio.Event(), list[str | None]()

    async def run(_: Job, stop: Stop, *__: int | None) -> None:
        writing.set()
        await asyncio.sleep(0.05)
        written.append(stop())

    queue = InlineJobQueue(run, Bounds(running=1, user_running=1), durable=True)
    await queue.submit(a_job(), recorded)
    await queue.submit(queued := a_job(id="queued"), recorded)
    cancelling = asyncio.create_task(queue.cancel(queued.id, "user"))
    await writing.wait()
    await queue.drain(grace=0)
    await cancelling
    assert "user" in written


async def test_a_job_cancelled_while_it_is_handed_back_writes_its_end() -> None:
    """Its run has looked for a reason already, and found none."""
    leaving, go_on, ends = asyncio.Event(), asyncio.Event(), list[str | None]()

    async def run(_: Job, stop: Stop, *__: int | None) -> None:
        if (why := stop()) is not None:
            ends.append(why)
            return
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            leaving.set()
            await go_on.wait()
            raise

    queue = InlineJobQueue(run, Bounds(), durable=True)
    await queue.submit(job := a_job(), recorded)
    await until(lambda: queue.running)
    await asyncio.sleep(0)
    draining = asyncio.create_task(queue.drain(grace=0))
    await leaving.wait()
    cancelling = asyncio.create_task(queue.cancel(job.id, "user"))
    await asyncio.sleep(0)
    go_on.set()
    await cancelling
    await draining
    assert ends == ["user"]
