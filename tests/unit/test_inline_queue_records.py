"""The queue of this process: nothing is half-accepted, whoever fails or leaves meanwhile."""

import asyncio

import pytest

from sluice.application.scheduling import Bounds
from sluice.domain.errors import Unavailable
from tests.doubles import a_job
from tests.queue_bench import Benches
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("no_task_left")


async def test_a_job_runs_only_once_its_record_is_written(bench_of: Benches) -> None:
    bench, written = bench_of(), asyncio.Event()

    async def record() -> None:
        await written.wait()
        assert bench.runs.started == []

    submitting = asyncio.create_task(bench.submit(a_job(), record=record))
    await asyncio.sleep(0)
    assert (bench.queue.running, bench.queue.queued) == (0, 1)
    written.set()
    await submitting
    await until(lambda: bench.runs.started)


async def test_a_job_submitted_ten_times_at_once_runs_once(bench_of: Benches) -> None:
    bench = bench_of(Bounds(running=1, queued=1, user_queued=1))
    written: list[str] = []

    async def record() -> None:
        await asyncio.sleep(0)
        written.append("record")

    job = a_job()
    await asyncio.gather(*(bench.submit(job, record=record) for _ in range(10)))
    assert written == ["record"]
    await until(lambda: bench.runs.started == [job.id])


async def test_a_record_that_fails_fails_for_all_who_share_it_and_gives_the_place_back(
    bench_of: Benches,
) -> None:
    bench = bench_of(Bounds(running=1, queued=1))

    async def fails() -> None:
        await asyncio.sleep(0)
        raise Unavailable("the store is down")

    job = a_job()
    results = await asyncio.gather(
        *(bench.submit(job, record=fails) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [Unavailable] * 3
    assert (bench.queue.running, bench.queue.queued) == (0, 0)
    await bench.submit(job)
    await until(lambda: bench.runs.started == [job.id])


async def test_a_place_given_back_goes_to_the_next(bench_of: Benches) -> None:
    bench, failing = bench_of(Bounds(running=1)), asyncio.Event()

    async def fails() -> None:
        await failing.wait()
        raise Unavailable("the store is down")

    lost = asyncio.create_task(bench.submit(a_job(), record=fails))
    await asyncio.sleep(0)
    await bench.submit(waiting := a_job())
    assert bench.runs.started == []
    failing.set()
    with pytest.raises(Unavailable):
        await lost
    await until(lambda: bench.runs.started == [waiting.id])


async def test_a_client_that_leaves_while_its_job_is_recorded_has_asked(
    bench_of: Benches,
) -> None:
    bench, written = bench_of(), asyncio.Event()

    async def record() -> None:
        await written.wait()

    client = asyncio.create_task(bench.submit(job := a_job(), record=record))
    await asyncio.sleep(0)
    client.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client
    written.set()
    await until(lambda: bench.runs.started == [job.id])


async def test_a_client_that_leaves_a_record_that_fails_leaves_nothing(bench_of: Benches) -> None:
    bench, failing = bench_of(Bounds(running=1)), asyncio.Event()

    async def fails() -> None:
        await failing.wait()
        raise Unavailable("the store is down")

    client = asyncio.create_task(bench.submit(a_job(), record=fails))
    await asyncio.sleep(0)
    client.cancel()
    failing.set()
    await until(lambda: client.done() and not bench.queue.queued)
    await bench.submit(job := a_job())
    await until(lambda: bench.runs.started == [job.id])


async def test_a_chats_second_question_waits_for_its_first_to_be_recorded(
    bench_of: Benches,
) -> None:
    bench, gate = bench_of(Bounds(running=1)), asyncio.Event()

    async def slowly() -> None:
        await gate.wait()

    busy, first, second = a_job(chat_id="other"), a_job(chat_id="one"), a_job(chat_id="one")
    await bench.submit(busy)
    recording = asyncio.create_task(bench.submit(first, record=slowly))
    await until(lambda: bench.queue.queued == 1)
    await bench.submit(second)
    await bench.runs.finish(busy)
    assert bench.runs.active == []
    gate.set()
    await recording
    await until(lambda: bench.runs.active == [first.id])
