"""What every store of the log promises of what is deleted, or kept for long enough: it is gone."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from sluice.domain.errors import NotFound, Superseded
from sluice.domain.events import (
    Token,
)
from tests.contract.event_log.stores import DONE, FIRST, Store, a_job, begun, of, rest, store_of


async def test_a_deleted_chats_jobs_were_never_there(store: Store) -> None:
    log = store.log
    running, over, other = a_job(), a_job(), a_job("other")
    for job in (running, over, other):
        await log.create(job, FIRST)
    await (await log.begin(over.id)).end(DONE)
    notifier = await log.begin(running.id)
    notifier.publish(Token("a", "answer"))
    reader = await log.follow(running.id, after=None)
    await log.delete("chat")
    with pytest.raises(Superseded):
        await notifier.end(DONE)
    with pytest.raises(NotFound):
        await rest(reader)
    for each in (log, await store.fresh()):
        assert await each.unfinished() == [other]
        for job in (running, over):
            with pytest.raises(NotFound):
                await each.follow(job.id, after=None)


async def test_deleting_while_the_end_is_written_leaves_no_log(store: Store) -> None:
    job, notifier = await begun(store.log)
    publishing = asyncio.create_task(notifier.end(DONE))
    await asyncio.sleep(0)
    await store.log.delete("chat")
    await asyncio.gather(publishing, return_exceptions=True)
    for log in (store.log, await store.fresh()):
        with pytest.raises(NotFound):
            await log.read(job.id)


async def test_deleting_while_a_job_is_created_leaves_it_whole_or_absent(store: Store) -> None:
    job = a_job()
    creating = asyncio.create_task(store.log.create(job, FIRST))
    await asyncio.sleep(0)
    await store.log.delete("chat")
    await creating
    there = [each.id for each in await store.log.unfinished()]
    for log in (store.log, await store.fresh()):
        try:
            assert there == [(await log.job(job.id)).id]
        except NotFound:
            assert there == []


async def test_a_log_is_forgotten_after_its_retention_but_never_before_its_end(
    kind: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        log = (await store_of(kind, tmp_path, stack, 0)).log
        job, notifier = await begun(log)
        notifier.publish(Token("a", "answer"))
        assert (await log.read(job.id)).events[-1].event == Token("a", "answer")
        await notifier.end(DONE)
        for _ in range(3):
            await asyncio.sleep(0)
        for call in of(log):
            with pytest.raises(NotFound):
                await call(job.id)
