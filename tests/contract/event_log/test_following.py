"""What every store of the log promises its readers: all of it, in order, without a gap."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluice.application.coalescing import MAX_TOKEN_BYTES, size_of
from sluice.application.ports import EventLogPort
from sluice.domain.errors import Unavailable
from sluice.domain.events import (
    TERMINAL,
    Cursor,
    Recorded,
    Reset,
    StageStarted,
    Token,
)
from tests.contract.event_log.stores import (
    DONE,
    FIRST,
    Script,
    Store,
    a_job,
    assert_same,
    begun,
    followed,
    rest,
)


async def test_a_log_reads_the_same_live_late_and_from_the_store(store: Store) -> None:
    job = a_job()
    await store.log.create(job, FIRST)
    live = asyncio.create_task(followed(store.log, job))
    script = Script(store.log, job)
    await script.begin()
    for number in range(300):
        await script.publish(Token(f"{number} 무", "answer"))
        if number % 7 == 0:
            await asyncio.sleep(0)
    await script.publish(DONE)
    assert_same(await live, script.records)
    for log in (store.log, await store.fresh()):
        assert_same(await followed(log, job), script.records)
        whole = await log.read(job.id)
        assert_same(whole.events, script.records)
        assert whole.job == job
        assert whole.ended_at is not None


async def test_a_reader_that_keeps_up_gets_each_token_by_itself(log: EventLogPort) -> None:
    job, notifier = await begun(log)
    batches = await log.follow(job.id, after=Cursor(1, 1))
    async with asyncio.timeout(5), aclosing(batches):
        for number in range(5):
            notifier.publish(token := Token(str(number), "answer"))
            (one,) = await anext(batches)
            assert (one.id, one.event) == ((1, number + 2), token)


async def test_readers_early_late_and_resuming_get_the_same(log: EventLogPort) -> None:
    job, notifier = await begun(log)
    readers = [asyncio.create_task(followed(log, job)) for _ in range(5)]
    for number in range(50):
        notifier.publish(Token(str(number), "answer"))
        await asyncio.sleep(0)
    late = asyncio.create_task(followed(log, job))
    resumed = asyncio.create_task(followed(log, job, Cursor(1, 30)))
    await notifier.end(DONE)
    whole = (await log.read(job.id)).events
    for reader in (*readers, late):
        assert_same(await reader, whole)
    assert_same(await resumed, whole[30:])


async def test_a_reader_that_stalls_or_leaves_holds_nobody_up(log: EventLogPort) -> None:
    job, notifier = await begun(log)
    stalled, leaving = await log.follow(job.id, after=None), await log.follow(job.id, after=None)
    await anext(stalled)
    await anext(leaving)
    waiting = asyncio.ensure_future(anext(leaving))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    other = asyncio.create_task(followed(log, job))
    async with asyncio.timeout(5):
        for number in range(1000):
            notifier.publish(Token(str(number), "answer"))
        await notifier.end(DONE)
    await leaving.aclose()
    whole = (await log.read(job.id)).events
    assert_same(await other, whole)
    assert_same(await rest(stalled), whole[1:])


async def test_a_batch_is_one_event_or_64_kibibytes(store: Store) -> None:
    job, notifier = await begun(store.log)
    for size in (1, 100, 16_000, 21_000, 64, 16_384, 16_384, 9_999) * 3:
        notifier.publish(Token("무" * size, "answer"))
    await notifier.end(DONE)
    for log in (store.log, await store.fresh()):
        batches = await log.follow(job.id, after=None)
        async with aclosing(batches):
            async for batch in batches:
                assert (
                    len(batch) == 1 or sum(size_of(each.event) for each in batch) <= MAX_TOKEN_BYTES
                )


async def test_hanging_up_ends_every_reader_now_and_later(log: EventLogPort) -> None:
    job, notifier = await begun(log)
    unread, _ = await begun(log)
    early = await log.follow(job.id, after=None)
    waiting = asyncio.create_task(followed(log, job))
    await asyncio.sleep(0)
    log.hang_up()
    notifier.publish(Token("a", "answer"))
    for reading in (rest(early), waiting, followed(log, job), followed(log, unread)):
        with pytest.raises(Unavailable, match=r"^the service is shutting down$"):
            await reading
    late, _ = await begun(log)
    with pytest.raises(Unavailable):
        await log.follow(late.id, after=None)
    await notifier.end(DONE)
    assert (await log.read(job.id)).events[-1].event == DONE


PIECES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)


TOKENS = st.builds(Token, PIECES, st.sampled_from(["answer", "outer/inner"]))


STEPS = st.lists(
    st.one_of(
        st.lists(TOKENS, min_size=1, max_size=4),
        st.just("begin"),
        st.just("stage"),
        st.tuples(st.just("follow"), st.integers(0, 30)),
        st.tuples(st.just("read"), st.integers(0, 30)),
        st.just("yield"),
    ),
    max_size=25,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_any_interleaving_gives_every_reader_a_gapless_suffix(
    store: Store, steps: list[object]
) -> None:
    job = a_job()
    await store.log.create(job, FIRST)
    script = Script(store.log, job)
    await script.begin()
    readers: list[tuple[int, AsyncGenerator[Sequence[Recorded], None], list[Recorded]]] = []
    for step in steps:
        match step:
            case list(tokens):
                await script.publish(*tokens)
            case "begin":
                await script.begin()
                await script.publish(Reset("new_attempt"))
            case "stage":
                await script.publish(StageStarted("answer", 10))
            case ("follow", int(number)):
                after = number % (len(script.records) + 1)
                cursor = script.records[after - 1].id if after else None
                readers.append((after, await store.log.follow(job.id, after=cursor), []))
            case ("read", int(number)) if readers:
                after, batches, got = readers[number % len(readers)]
                if after + len(got) < len(script.records):
                    got += await anext(batches)
            case _:
                await asyncio.sleep(0)
    await script.publish(DONE)
    for after, batches, got in readers:
        assert_same(got + await rest(batches), script.records[after:])
    fresh = await store.fresh()
    for after in range(len(script.records)):
        cursor = script.records[after - 1].id if after else None
        assert_same(await followed(fresh, job, cursor), script.records[after:])
    assert [each.id for each in script.records if isinstance(each.event, TERMINAL)] == [
        script.records[-1].id
    ]
