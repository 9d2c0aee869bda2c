"""What every store of the log promises a reader that comes back: what is behind its cursor."""

import pytest

from sluice.application.ports import EventLogPort
from sluice.domain.errors import Finished
from sluice.domain.events import (
    Cursor,
    Recorded,
    Reset,
    Token,
)
from tests.contract.event_log.stores import (
    DONE,
    FIRST,
    Store,
    a_script,
    assert_same,
    begun,
    followed,
    rest,
)


async def test_a_log_can_be_resumed_after_every_single_event(store: Store) -> None:
    script = await a_script(store.log)
    for log in (store.log, await store.fresh()):
        for index, each in enumerate(script.records[:-1], 1):
            assert_same(await followed(log, script.job, each.id), script.records[index:])


async def test_a_running_log_can_be_resumed_after_every_single_event(log: EventLogPort) -> None:
    job, notifier = await begun(log)
    expected = [Recorded(Cursor(1, 1), FIRST)]
    readers = []
    for number in range(20):
        readers.append(await log.follow(job.id, after=expected[-1].id))
        expected.append(Recorded(Cursor(1, number + 2), Token(str(number), "answer")))
        notifier.publish(expected[-1].event)
    await notifier.end(DONE)
    expected.append(Recorded(Cursor(1, 22), DONE))
    for index, reader in enumerate(readers, 1):
        assert_same(await rest(reader), expected[index:])


async def test_the_cursor_of_the_end_is_finished(store: Store) -> None:
    script = await a_script(store.log)
    for log in (store.log, await store.fresh()):
        with pytest.raises(Finished):
            await log.follow(script.job.id, after=script.records[-1].id)


@pytest.mark.parametrize("cursor", [None, Cursor(1, 0)])
async def test_without_a_cursor_everything_is_told(store: Store, cursor: Cursor | None) -> None:
    script = await a_script(store.log)
    for log in (store.log, await store.fresh()):
        assert_same(await followed(log, script.job, cursor), script.records)


@pytest.mark.parametrize(
    "cursor", [(1, 9), (1, 99), (2, 0), (2, 13), (2, 10**30), (3, 1), (0, 0), (0, 7), (10**30, 1)]
)
async def test_a_cursor_that_the_log_does_not_hold_gives_a_reset_and_everything(
    store: Store, cursor: tuple[int, int]
) -> None:
    script = await a_script(store.log)
    assert cursor not in [each.id for each in script.records]
    for log in (store.log, await store.fresh()):
        reset, *everything = await followed(log, script.job, Cursor(*cursor))
        assert (reset.id, reset.event) == ((1, 0), Reset("cursor_unknown"))
        assert_same(everything, script.records)


async def test_a_cursor_of_the_future_does_not_wait_for_it(log: EventLogPort) -> None:
    job, notifier = await begun(log)
    batches = await log.follow(job.id, after=Cursor(1, 2))
    notifier.publish(Token("a", "answer"))
    await notifier.end(DONE)
    assert [each.id for each in await rest(batches)] == [(1, 0), (1, 1), (1, 2), (1, 3)]
