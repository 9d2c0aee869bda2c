"""A job that nobody reads is cancelled after a while, or not, as the operator chose."""

import asyncio
import gc
import weakref
from typing import Any

import pytest

from sluice.application import unread as unread_of
from sluice.application.ports import Record, nothing
from sluice.application.unread import CancelUnread
from sluice.domain.chat import Job, JobId
from sluice.domain.errors import Unavailable
from sluice.domain.events import QUEUED, CancelReason, Done, StageStarted, Token
from sluice.infrastructure.event_log.memory import MemoryEventLog
from tests.doubles import a_job


class RecordingQueue:
    def __init__(self) -> None:
        self.cancelled: list[tuple[JobId, CancelReason]] = []
        self.told = asyncio.Event()
        self.outages: list[Exception] = []

    async def submit(self, job: Job, record: Record, _: Record = nothing) -> None:
        await record()

    def runs_at_once(self, job_id: JobId) -> bool:
        return False

    async def cancel(self, job_id: JobId, reason: CancelReason) -> None:
        if self.outages:
            raise self.outages.pop()
        self.cancelled.append((job_id, reason))
        self.told.set()

    async def wake(self, job_id: JobId, *, within: float = 0) -> None:
        pass


async def house(after: float | None) -> tuple[CancelUnread, RecordingQueue, MemoryEventLog, Job]:
    queue, log, job = RecordingQueue(), MemoryEventLog(), a_job()
    await log.create(job, QUEUED)
    return CancelUnread(queue, log, after=after), queue, log, job


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def begun(before: set[asyncio.Task[Any]]) -> asyncio.Task[Any]:
    """The wait that a test has just made begin."""
    (wait,) = asyncio.all_tasks() - before
    return wait


async def test_a_job_never_read_is_cancelled_from_its_start(no_task_left: None) -> None:
    readers, queue, log, job = await house(after=0)
    readers.submitted(job.id)
    await turns()
    assert queue.cancelled == []  # it has not started yet, however long that takes
    (await log.begin(job.id)).publish(StageStarted("answer", 0))
    async with asyncio.timeout(5):
        await queue.told.wait()
    assert queue.cancelled == [(job.id, "orphaned")]


async def test_a_job_never_read_has_its_time_from_its_start(no_task_left: None) -> None:
    readers, queue, log, job = await house(after=60)
    readers.submitted(job.id)
    await turns()
    (await log.begin(job.id)).publish(StageStarted("answer", 0))
    await turns()
    assert queue.cancelled == []
    readers.joined(job.id)  # or it would be waited for


async def test_a_job_whose_last_reader_left_is_cancelled(no_task_left: None) -> None:
    readers, queue, _, job = await house(after=0)
    readers.joined(job.id)
    readers.joined(job.id)
    readers.left(job.id)
    await turns()
    assert queue.cancelled == []
    readers.left(job.id)
    async with asyncio.timeout(5):
        await queue.told.wait()
    assert queue.cancelled == [(job.id, "orphaned")]


async def test_a_reader_that_comes_back_in_time_saves_it(no_task_left: None) -> None:
    readers, queue, _, job = await house(after=60)
    readers.joined(job.id)
    readers.left(job.id)
    await turns()
    readers.joined(job.id)
    await turns()
    assert queue.cancelled == []


async def test_a_job_that_is_over_is_waited_for_no_longer(no_task_left: None) -> None:
    readers, queue, log, job = await house(after=3600)
    readers.joined(job.id)
    readers.left(job.id)  # while it runs, and now it ends
    await turns()
    await (await log.begin(job.id)).end(Done("A2", "answer"))
    await turns()
    readers.joined(job.id)
    readers.left(job.id)
    await turns()
    assert queue.cancelled == []


async def test_a_job_whose_stages_are_not_shown_starts_with_its_text(no_task_left: None) -> None:
    readers, queue, log, job = await house(after=0)
    readers.submitted(job.id)
    (await log.begin(job.id)).publish(Token("a", "answer"))
    async with asyncio.timeout(5):
        await queue.told.wait()


async def test_a_log_that_cannot_be_read_for_a_while_is_asked_again(
    no_task_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread_of, "_RETRY_S", 0)
    readers, queue, log, job = await house(after=0)
    follow, outages = log.follow, [Unavailable("away"), Unavailable("away")]

    async def sometimes(*given: Any, **named: Any) -> Any:
        if outages:
            raise outages.pop()
        return await follow(*given, **named)

    log.follow = sometimes  # type: ignore[method-assign]
    readers.joined(job.id)
    readers.left(job.id)
    async with asyncio.timeout(5):
        await queue.told.wait()
    assert outages == []


async def test_a_queue_that_cannot_be_asked_for_a_while_is_asked_again(no_task_left: None) -> None:
    readers, queue, _, job = await house(after=0)
    queue.outages = [Unavailable("away"), Unavailable("away")]
    readers.joined(job.id)
    readers.left(job.id)
    async with asyncio.timeout(5):
        await queue.told.wait()
    assert queue.cancelled == [(job.id, "orphaned")]


async def test_a_job_that_is_gone_is_no_error(no_task_left: None) -> None:
    readers, queue, log, job = await house(after=0)
    await log.delete(job.chat_id)
    before = asyncio.all_tasks()
    readers.submitted(job.id)
    await begun(before)
    assert queue.cancelled == []


async def test_nothing_is_kept_of_a_job_that_is_over(no_task_left: None) -> None:
    readers, _, log, job = await house(after=60)
    before = asyncio.all_tasks()
    readers.submitted(job.id)
    wait = weakref.ref(begun(before))
    await turns()
    await (await log.begin(job.id)).end(Done("A2", "answer"))
    await turns()
    gc.collect()
    assert wait() is None


async def test_by_default_jobs_run_on(no_task_left: None) -> None:
    readers, queue, _, job = await house(after=None)
    readers.submitted(job.id)
    readers.joined(job.id)
    readers.left(job.id)
    await turns()
    assert queue.cancelled == []
