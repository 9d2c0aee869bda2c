"""Attempts: how many there are, and one that another has overtaken writes no more."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from sluice.application.spans import NoSpans, TellEnd
from sluice.domain.chat import Job
from sluice.domain.errors import (
    DeadlineExceeded,
    Superseded,
    WorkerLost,
)
from sluice.domain.events import (
    QUEUED,
    Cancelled,
    Event,
    Reset,
    Terminal,
)
from sluice.domain.graph_state import Advanced, Head, InputRequest, Pause
from tests.unit.process_chat.bench import DONE, STARTED, Bench, failed, reads


async def test_a_third_attempt_is_a_lost_worker(bench: Bench) -> None:
    await bench.log.begin(bench.job.id)
    await bench.log.begin(bench.job.id)
    await bench.process(DONE)(bench.job)
    assert await bench.told() == [Reset("new_attempt"), QUEUED, failed(WorkerLost)]


@pytest.mark.parametrize(("returns", "end"), [(1, DONE), (2, DONE), (0, failed(WorkerLost))])
async def test_attempts_that_were_handed_back_do_not_count(
    bench: Bench, returns: int, end: Event
) -> None:
    for _ in range(2):
        await bench.log.begin(bench.job.id)
    await bench.process(DONE)(bench.job, lambda: None, 2, returns)
    assert (await bench.told())[-1] == end


async def test_an_attempt_that_is_cancelled_before_it_says_anything_begins_with_its_reset(
    bench: Bench,
) -> None:
    await bench.log.begin(bench.job.id)
    await bench.process(DONE)(bench.job, lambda: "user")
    assert await bench.told() == [Reset("new_attempt"), QUEUED, Cancelled("user")]


async def test_a_writer_that_was_superseded_says_so_and_writes_no_more(bench: Bench) -> None:
    gate = asyncio.Event()
    task = asyncio.create_task(bench.process(STARTED, gate, DONE)(bench.job))
    await reads(bench, 2)
    later = await bench.log.begin(bench.job.id)
    gate.set()
    with pytest.raises(Superseded):
        await task
    await later.end(Cancelled("user"))
    assert await bench.told() == [STARTED, Cancelled("user")]


async def test_an_attempt_that_another_one_has_come_before_says_nothing(bench: Bench) -> None:
    await bench.log.begin(bench.job.id)
    with pytest.raises(Superseded):
        await bench.process(DONE)(bench.job, after=0)
    assert len((await bench.log.read(bench.job.id)).events) == 1


class RecordingSpans(NoSpans):
    """A SpansPort that keeps what it is told of jobs."""

    def __init__(self) -> None:
        self.runs: list[tuple[Job, int | None]] = []
        self.ends: list[Terminal] = []

    @contextmanager
    def job(self, job: Job, attempt: int | None) -> Iterator[TellEnd]:
        self.runs.append((job, attempt))
        yield self.ends.append


PAUSE = Pause(Head("chat", "1"), (InputRequest("yes", "May I?", "approval"),))


async def test_a_tracer_is_told_of_each_attempt_and_of_how_the_last_one_ended(
    bench: Bench,
) -> None:
    await bench.log.begin(bench.job.id)
    spans = RecordingSpans()
    await bench.process(Advanced(DONE, Head("chat", "1")), spans=spans)(bench.job)
    assert spans.runs == [(bench.job, 2)]
    assert spans.ends == [DONE]


async def test_what_goes_on_after_a_pause_is_no_attempt_of_its_own(bench: Bench) -> None:
    spans = RecordingSpans()
    process = bench.process(PAUSE, DONE, spans=spans)
    assert await process(bench.job) is not None
    assert (spans.runs, spans.ends) == ([(bench.job, 1)], [])
    await bench.store.answer(bench.job.id, "yes", True)
    assert await process(bench.job) is None
    assert (spans.runs, spans.ends) == ([(bench.job, 1), (bench.job, None)], [DONE])


async def test_a_run_that_goes_on_has_what_the_runs_before_have_left_of_the_deadline(
    bench: Bench,
) -> None:
    process = bench.process(PAUSE, asyncio.Event(), deadline=600)
    await process(bench.job)
    kept = await bench.store.answer(bench.job.id, "yes", True)
    await bench.store.keep(bench.job, replace(kept, spent=600))
    await bench.store.answer(bench.job.id, "yes", True)
    async with asyncio.timeout(5):
        await process(bench.job)
    assert (await bench.told())[-1] == failed(DeadlineExceeded)
