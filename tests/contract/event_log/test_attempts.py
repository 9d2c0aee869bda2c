"""What every store of the log promises of attempts: each begins once, and one ends the job."""

import asyncio
from dataclasses import replace

import pytest
from langchain_core.messages import AIMessage

from sluice.application.ports import EventLogPort
from sluice.domain.errors import Finished, Superseded
from sluice.domain.events import (
    Cancelled,
    Token,
)
from tests.contract.event_log.stores import DONE, FIRST, Store, a_job, begun, followed
from tests.doubles import publish


async def test_the_first_attempt_goes_on_behind_the_first_event(store: Store) -> None:
    job = a_job()
    await store.log.create(job, FIRST)
    log = await store.fresh()  # the process that took the job never ran it
    notifier = await log.begin(job.id)
    assert notifier.attempt == 1
    await notifier.end(DONE)
    assert [each.id for each in await followed(log, job)] == [(1, 1), (1, 2)]


async def test_an_attempt_that_wrote_nothing_is_counted(store: Store) -> None:
    job, _ = await begun(store.log)
    log = await store.fresh()
    notifier = await log.begin(job.id)
    assert notifier.attempt == 2
    await notifier.end(DONE)
    assert [each.id for each in await followed(log, job)] == [(1, 1), (2, 1)]


async def test_an_earlier_attempt_is_fenced_off(log: EventLogPort) -> None:
    job, earlier = await begun(log)
    earlier.publish(Token("a", "answer"))
    later = await log.begin(job.id)
    for event in (Token("b", "answer"), DONE):
        with pytest.raises(Superseded):
            await publish(earlier, event)
    await later.end(DONE)
    assert [each.id for each in await followed(log, job)] == [(1, 1), (1, 2), (2, 1)]


async def test_nothing_comes_behind_the_end(store: Store) -> None:
    job, notifier = await begun(store.log)
    await notifier.end(DONE)
    with pytest.raises(Superseded):
        notifier.publish(Token("a", "answer"))
    for log in (store.log, await store.fresh()):
        with pytest.raises(Finished):
            await log.begin(job.id)
        assert [each.id for each in await followed(log, job)] == [(1, 1), (1, 2)]


@pytest.mark.parametrize("token", [Token("\ud800", "answer"), Token("a", "\ud800")])
async def test_a_token_that_utf_8_cannot_say_is_refused_and_leaves_no_gap(
    log: EventLogPort, token: Token
) -> None:
    job, notifier = await begun(log)
    with pytest.raises(UnicodeEncodeError):
        notifier.publish(token)
    await notifier.end(DONE)
    assert [each.id for each in await followed(log, job)] == [(1, 1), (1, 2)]


async def test_an_attempt_after_another_count_than_was_expected_is_not_begun(store: Store) -> None:
    """Who was to begin the first slept until another one had."""
    job = a_job()
    await store.log.create(job, FIRST)
    assert await store.log.attempts(job.id) == 0
    notifier = await store.log.begin(job.id, after=0)
    with pytest.raises(Superseded):
        await store.log.begin(job.id, after=0)
    assert await store.log.attempts(job.id) == 1
    await notifier.end(DONE)
    with pytest.raises(Finished):
        await store.log.begin(job.id, after=1)
    assert await (await store.fresh()).attempts(job.id) == 1


async def test_of_many_who_begin_after_the_same_count_one_does(store: Store) -> None:
    job = a_job()
    await store.log.create(job, FIRST)
    beginnings = [store.log.begin(job.id, after=0) for _ in range(5)]
    results = await asyncio.gather(*beginnings, return_exceptions=True)
    assert [type(result) for result in results].count(Superseded) == 4
    assert await (await store.fresh()).attempts(job.id) == 1


async def test_of_many_ends_at_once_one_is_told(store: Store) -> None:
    job, notifier = await begun(store.log)
    ends = [notifier.end(DONE)] + [notifier.end(Cancelled("user")) for _ in range(5)]
    results = await asyncio.gather(*ends, store.log.begin(job.id), return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] + [Superseded] * 5 + [Finished]
    for log in (store.log, await store.fresh()):
        assert [each.event for each in await followed(log, job)] == [FIRST, DONE]


async def test_an_end_that_nobody_waits_for_any_more_is_told(log: EventLogPort) -> None:
    job, notifier = await begun(log)
    reader = asyncio.create_task(followed(log, job))
    publishing = asyncio.ensure_future(notifier.end(DONE))
    await asyncio.sleep(0)
    publishing.cancel()
    assert (await reader)[-1].event == DONE


async def test_a_text_as_langchain_has_it_is_a_text(store: Store) -> None:
    """It is of a subclass of `str`, and comes from nodes that say or return a message's `text`."""
    text = AIMessage("shown").text
    assert type(text) is not str
    job, notifier = await begun(store.log)
    await publish(notifier, Token(text, "n"), replace(DONE, answer=text))
    read = await (await store.fresh()).read(job.id)
    assert [one.event for one in read.events[1:]] == [Token(text, "n"), replace(DONE, answer=text)]
