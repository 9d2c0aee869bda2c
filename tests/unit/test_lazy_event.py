"""An event whose queue of waiters is made with the first who waits."""

import asyncio

from sluice.application.lazy_event import LazyEvent


async def test_who_waits_is_woken_and_who_comes_later_does_not_wait() -> None:
    event = LazyEvent()
    assert event.is_set() is False
    waiting = [asyncio.ensure_future(event.wait()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(each.done() for each in waiting)
    event.set()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*waiting, event.wait()) == [True] * 3
    assert event.is_set()


async def test_cleared_it_is_waited_for_anew() -> None:
    event = LazyEvent()
    event.set()
    event.clear()
    assert event.is_set() is False
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    event.set()
    event.clear()
    async with asyncio.timeout(5):
        assert await waiting
