"""The queue of this process: cancelled at any moment, drained, and taken up again."""

import asyncio

import pytest

from sluice.application.ports import Stop
from sluice.application.scheduling import Bounds
from sluice.domain.chat import Job
from sluice.domain.errors import Unavailable
from sluice.infrastructure.jobs.inline.queue import InlineJobQueue
from tests.doubles import a_job
from tests.queue_bench import Benches, recorded
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("no_task_left")

ONE_AT_A_TIME = Bounds(running=1)


async def test_a_running_job_is_cancelled(bench_of: Benches) -> None:
    bench = bench_of()
    await bench.submit(job := a_job())
    await until(lambda: bench.runs.active)
    await bench.queue.cancel(job.id, "user")
    await until(lambda: bench.runs.ends == {job.id: "user"})


async def test_who_has_cancelled_a_job_finds_it_ended(bench_of: Benches) -> None:
    """Its end is as durable as the store then, whatever becomes of the process."""
    bench = bench_of()
    job = a_job()
    await bench.submit(job)
    await bench.queue.cancel(job.id, "user")
    assert bench.runs.ends[job.id] == "user"


async def test_a_job_cancelled_before_its_first_step_still_writes_its_end(
    bench_of: Benches,
) -> None:
    """A task that is cancelled before it begins would run no line of it."""
    bench = bench_of()
    await bench.submit(job := a_job())
    assert bench.runs.started == []
    await bench.queue.cancel(job.id, "user")
    await until(lambda: bench.runs.ends == {job.id: "user"})


async def test_a_queued_job_that_is_cancelled_writes_its_end_without_waiting_for_room(
    bench_of: Benches,
) -> None:
    bench = bench_of(ONE_AT_A_TIME)
    await bench.submit(first := a_job(), queued := a_job())
    await bench.queue.cancel(queued.id, "orphaned")
    await until(lambda: bench.runs.ends == {queued.id: "orphaned"})
    assert bench.runs.active == [first.id]


async def test_a_job_cancelled_while_it_is_recorded_writes_its_end_behind_the_record(
    bench_of: Benches,
) -> None:
    bench, written = bench_of(), asyncio.Event()

    async def record() -> None:
        await written.wait()
        assert bench.runs.started == []

    submitting = asyncio.create_task(bench.submit(job := a_job(), record=record))
    await asyncio.sleep(0)
    await bench.queue.cancel(job.id, "user")
    written.set()
    await submitting
    await until(lambda: bench.runs.ends == {job.id: "user"})


async def test_of_two_cancels_the_first_reason_stands(bench_of: Benches) -> None:
    bench = bench_of()
    await bench.submit(job := a_job())
    await bench.queue.cancel(job.id, "orphaned")
    await bench.queue.cancel(job.id, "user")
    await until(lambda: bench.runs.ends == {job.id: "orphaned"})


async def test_a_job_that_is_writing_its_end_is_let_alone_by_a_second_cancel() -> None:
    ending, go_on, ends = asyncio.Event(), asyncio.Event(), []

    async def run(_: Job, stop: Stop, *__: int | None) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ending.set()
            await go_on.wait()
            ends.append(stop())

    queue = InlineJobQueue(run, Bounds())
    await queue.submit(job := a_job(), recorded)
    await queue.cancel(job.id, "user")
    await ending.wait()
    await queue.cancel(job.id, "user")
    go_on.set()
    await until(lambda: not queue.running)
    assert ends == ["user"]


async def test_cancelling_what_is_over_or_never_was_is_no_error(bench_of: Benches) -> None:
    bench = bench_of()
    await bench.submit(job := a_job())
    await bench.runs.finish(job)
    await bench.queue.cancel(job.id, "user")
    await bench.queue.cancel("nobody", "user")
    assert bench.runs.ends == {job.id: "done"}


async def test_a_cancelled_jobs_place_goes_to_the_next_in_its_chat(bench_of: Benches) -> None:
    bench = bench_of()
    await bench.submit(first := a_job(), second := a_job())
    await bench.queue.cancel(first.id, "user")
    await until(lambda: bench.runs.active == [second.id])


async def test_a_run_whose_end_the_store_refuses_gives_its_place_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run(_: Job, __: Stop, *___: int | None) -> None:
        raise Unavailable("the log is closed") from RuntimeError("secret")

    queue = InlineJobQueue(run, ONE_AT_A_TIME)
    await queue.submit(a_job(), recorded)
    await until(lambda: not queue.running)
    assert "could not be written: Unavailable: the log is closed" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("durable", [False, True])
async def test_a_draining_queue_takes_nothing_new(bench_of: Benches, durable: bool) -> None:
    bench = bench_of(durable=durable)
    await bench.queue.drain(grace=5)
    with pytest.raises(Unavailable):
        await bench.submit(a_job())
    assert bench.runs.started == []


@pytest.mark.parametrize("durable", [False, True])
async def test_what_runs_may_end_within_the_grace(bench_of: Benches, durable: bool) -> None:
    bench = bench_of(durable=durable)
    await bench.submit(job := a_job())
    await until(lambda: bench.runs.active)
    draining = asyncio.create_task(bench.queue.drain(grace=60))
    await asyncio.sleep(0)
    await bench.runs.finish(job)
    await draining
    assert bench.runs.ends == {job.id: "done"}


async def test_in_memory_what_waits_runs_within_the_grace_too(bench_of: Benches) -> None:
    bench = bench_of(ONE_AT_A_TIME)
    await bench.submit(first := a_job(), second := a_job())
    draining = asyncio.create_task(bench.queue.drain(grace=60))
    await bench.runs.finish(first, second)
    await draining
    assert bench.runs.ends == {first.id: "done", second.id: "done"}


async def test_in_memory_everything_left_after_the_grace_is_told_of_the_shutdown(
    bench_of: Benches,
) -> None:
    bench = bench_of(ONE_AT_A_TIME)
    await bench.submit(running := a_job(), queued := a_job())
    await bench.queue.drain(grace=0)
    assert bench.runs.ends == {running.id: "shutdown", queued.id: "shutdown"}
    assert (bench.queue.running, bench.queue.queued) == (0, 0)


async def test_a_durable_queue_hands_back_what_runs_and_starts_nothing_that_waits(
    bench_of: Benches,
) -> None:
    bench = bench_of(ONE_AT_A_TIME, durable=True)
    await bench.submit(running := a_job(), queued := a_job())
    await bench.queue.drain(grace=0)
    assert bench.runs.ends == {running.id: "handed back"}
    assert queued.id not in bench.runs.started


async def test_a_durable_queue_hands_back_what_has_not_made_its_first_step(
    bench_of: Benches,
) -> None:
    bench = bench_of(durable=True)
    await bench.submit(a_job())
    assert bench.runs.started == []
    await bench.queue.drain(grace=0)
    assert (bench.queue.running, set(bench.runs.ends.values())) == (0, {"handed back"})


async def test_a_user_may_still_cancel_while_a_durable_queue_drains(bench_of: Benches) -> None:
    bench = bench_of(ONE_AT_A_TIME, durable=True)
    await bench.submit(running := a_job(), queued := a_job())
    draining = asyncio.create_task(bench.queue.drain(grace=60))
    await asyncio.sleep(0)
    await bench.queue.cancel(queued.id, "user")
    await bench.queue.cancel(running.id, "user")
    await draining
    assert bench.runs.ends == {queued.id: "user", running.id: "user"}


async def test_a_record_that_fails_while_a_queue_drains_does_not_hold_it_up(
    bench_of: Benches,
) -> None:
    bench, failing = bench_of(), asyncio.Event()

    async def fails() -> None:
        await failing.wait()
        raise Unavailable("the store is down")

    lost = asyncio.create_task(bench.submit(a_job(), record=fails))
    await asyncio.sleep(0)
    draining = asyncio.create_task(bench.queue.drain(grace=3600))
    await asyncio.sleep(0)
    failing.set()
    async with asyncio.timeout(5):
        await asyncio.wait([lost, draining])
    assert isinstance(lost.exception(), Unavailable)


async def test_what_the_store_holds_is_taken_up_past_every_bound_of_admission(
    bench_of: Benches,
) -> None:
    bench = bench_of(Bounds(running=2, queued=1, user_queued=1))
    jobs = [a_job(id=f"job-{n}", chat_id=f"chat-{n}") for n in range(6)]
    bench.take_up(*jobs)
    await until(lambda: bench.runs.active == ["job-0", "job-1"])
    assert bench.queue.queued == 4
    await bench.runs.finish(*jobs)
    assert bench.runs.started == [job.id for job in jobs]


async def test_taken_up_jobs_of_one_chat_run_one_after_the_other(bench_of: Benches) -> None:
    bench = bench_of()
    bench.take_up(first := a_job(), second := a_job())
    await until(lambda: bench.runs.active == [first.id])
    await bench.runs.finish(first)
    await until(lambda: bench.runs.active == [second.id])
