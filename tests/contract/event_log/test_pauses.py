"""What every store of the log promises of an attempt that pauses, and goes on as the same one."""

import pytest

from sluice.application.ports import EventLogPort
from sluice.domain.errors import Superseded
from sluice.domain.events import Cancelled, Cursor, NeedsInput, Reset, Token
from tests.contract.event_log.stores import FIRST, Store, a_job, begun, followed

ASKED = NeedsInput("send", {"to": "무색"}, "approval", "2026-11-01T12:00:00Z", {"type": "boolean"})
DONE = Cancelled("user")


async def paused(log: EventLogPort) -> str:
    job, notifier = await begun(log)
    notifier.publish(Token("a", "n"), Token("b", "n"))
    await notifier.flush()
    await notifier.pause(ASKED)
    return job.id


async def told(log: EventLogPort, job_id: str) -> list[tuple[str, object]]:
    return [(str(one.id), one.event) for one in (await log.read(job_id)).events]


async def test_an_attempt_that_paused_goes_on_behind_what_it_asked(store: Store) -> None:
    job_id = await paused(store.log)
    assert await store.log.is_paused(job_id)
    log = await store.fresh()
    assert await log.is_paused(job_id)
    notifier = await log.begin(job_id, after=1, goes_on=True)
    assert notifier.attempt == await log.attempts(job_id) == 1
    assert not await log.is_paused(job_id)
    notifier.publish(Token("c", "n"))
    await notifier.end(DONE)
    last = await told(await store.fresh(), job_id)
    assert last[-3:] == [("1-4", ASKED), ("1-5", Token("c", "n")), ("1-6", DONE)]


async def test_it_goes_on_once_and_what_begins_after_that_is_the_next_attempt(
    log: EventLogPort,
) -> None:
    job_id = await paused(log)
    await log.begin(job_id, goes_on=True)
    notifier = await log.begin(job_id, goes_on=True)
    notifier.publish(Reset("new_attempt"))
    await notifier.flush()
    assert (await log.read(job_id)).events[-1].id == Cursor(2, 1)


async def test_an_attempt_that_has_not_paused_does_not_go_on(log: EventLogPort) -> None:
    job, _ = await begun(log)
    assert not await log.is_paused(job.id)
    assert (await log.begin(job.id, goes_on=True)).attempt == 2


async def test_without_being_asked_to_a_paused_attempt_is_followed_by_the_next(
    log: EventLogPort,
) -> None:
    job_id = await paused(log)
    assert (await log.begin(job_id)).attempt == 2
    assert not await log.is_paused(job_id)


async def test_who_has_paused_and_whoever_wrote_before_is_fenced_off(log: EventLogPort) -> None:
    job, first = await begun(log)
    await first.pause(ASKED)
    with pytest.raises(Superseded):
        first.publish(Token("a", "n"))
    with pytest.raises(Superseded):
        await first.end(DONE)
    again = await log.begin(job.id, goes_on=True)
    for write in (first.flush, first.pause):
        with pytest.raises(Superseded):
            await write()
    await again.end(DONE)
    assert [event for _, event in await told(log, job.id)] == [FIRST, ASKED, DONE]


@pytest.mark.parametrize("kind", ["fakeredis", "redis"], indirect=True)
async def test_at_another_process_the_first_writer_is_refused_by_the_store(store: Store) -> None:
    """It was frozen while it paused, and wakes up when the attempt has gone on elsewhere."""
    job = a_job()
    await store.log.create(job, FIRST)
    zombie = await store.log.begin(job.id)
    other = await store.fresh()
    mine = await other.begin(job.id)
    await mine.pause(ASKED)
    last = await (await store.fresh()).begin(job.id, goes_on=True)
    assert last.attempt == mine.attempt == 2
    with pytest.raises(Superseded):
        await zombie.end(DONE)
    last.publish(Token("c", "n"))
    await last.flush()
    assert [event for _, event in await told(other, job.id)] == [FIRST, ASKED, Token("c", "n")]


async def test_a_paused_log_can_be_read_and_ended(log: EventLogPort) -> None:
    job_id = await paused(log)
    job = await log.job(job_id)
    assert job in await log.unfinished()
    await (await log.begin(job_id, goes_on=True)).end(DONE)
    assert [one.event for one in await followed(log, job)][-2:] == [ASKED, DONE]
