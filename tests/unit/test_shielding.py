"""Work that must come to its end is awaited through cancellations, unless it is given up."""

import asyncio

import pytest

from sluice.application.shielding import to_its_end


async def test_nobody_cancels_and_the_result_is_given_alone() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return "done"

    assert await to_its_end(work()) == ("done", None)


async def test_what_the_work_raises_is_raised() -> None:
    async def work() -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - it has no text
        await to_its_end(work())


async def test_cancelled_twice_it_goes_on_and_the_last_cancellation_is_given() -> None:
    go_on = asyncio.Event()

    async def work() -> str:
        await go_on.wait()
        return "done"

    task = asyncio.create_task(to_its_end(work()))
    for reason in ("first", "second"):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel(reason)
    await asyncio.sleep(0)
    go_on.set()
    result, cancelled = await task
    assert result == "done"
    assert cancelled is not None
    assert cancelled.args == ("second",)


async def test_work_that_is_given_up_is_cancelled_and_awaited_until_it_has_cleaned_up() -> None:
    cleaned = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    task = asyncio.create_task(to_its_end(work(), lambda: True))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait([task])
    assert task.cancelled()
    assert cleaned.is_set()
