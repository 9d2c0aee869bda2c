"""The deadline of an upstream call: what it ends, and what it leaves alone."""

import asyncio
import socket
import time

import pytest

from sluice.domain.errors import UpstreamTimeout
from sluice.infrastructure.llm import deadline as module
from sluice.infrastructure.llm.deadline import Deadline

NEVER = 100.0


async def wait(deadline: Deadline) -> None:
    with deadline:
        await asyncio.Event().wait()


async def turn() -> None:
    """As long as it takes for what is ready to run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_wait_ends_at_the_deadline() -> None:
    with pytest.raises(UpstreamTimeout):
        await asyncio.wait_for(wait(Deadline(0.01)), 5)


async def test_the_task_goes_on_after_a_timeout() -> None:
    with pytest.raises(UpstreamTimeout):
        await wait(Deadline(0.01))
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await turn()


async def test_one_deadline_spans_several_waits() -> None:
    deadline = Deadline(0.05)

    async def wait_often() -> None:
        while True:
            with deadline:
                await asyncio.sleep(0)

    with pytest.raises(UpstreamTimeout):
        await asyncio.wait_for(wait_often(), 5)


async def test_it_is_counted_anew_only_from_what_was_waited_for() -> None:
    loop = asyncio.get_running_loop()
    deadline = Deadline(NEVER)
    deadline.allow(0.05)
    end = loop.time() + 0.2
    while loop.time() < end:
        deadline.restarts = True
        with deadline:
            await asyncio.sleep(0)

    async def wait_for_nothing() -> None:
        while True:
            with deadline:
                await asyncio.sleep(0)

    with pytest.raises(UpstreamTimeout):
        await asyncio.wait_for(wait_for_nothing(), 5)


async def test_a_new_deadline_begins_with_the_next_wait() -> None:
    deadline = Deadline(NEVER)
    deadline.allow(0.1)
    await asyncio.sleep(0.15)  # as a slow consumer
    with deadline:
        await asyncio.sleep(0.01)


async def test_at_first_it_is_counted_from_its_making() -> None:
    deadline = Deadline(NEVER)
    before = deadline.remaining
    with deadline:
        assert deadline.remaining <= before
    deadline.close()


async def test_a_new_one_is_counted_from_the_wait_and_not_from_its_allowance() -> None:
    deadline = Deadline(0)
    deadline.allow(NEVER)
    await asyncio.sleep(0.01)
    before = deadline.remaining
    with deadline:
        assert deadline.remaining > before
    deadline.close()


async def test_a_wait_behind_a_slow_consumer_has_its_deadline_all_the_same() -> None:
    deadline = Deadline(0.01)
    await asyncio.sleep(0.05)
    with pytest.raises(UpstreamTimeout):
        await asyncio.wait_for(wait(deadline), 5)


async def test_a_new_deadline_may_follow_a_timeout() -> None:
    deadline = Deadline(0.01)
    with pytest.raises(UpstreamTimeout):
        await wait(deadline)
    deadline.allow(NEVER)
    with deadline:
        await turn()
    deadline.close()


async def test_a_cancellation_stays_one() -> None:
    waiting = asyncio.create_task(wait(Deadline(NEVER)))
    await turn()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert waiting.cancelled()


async def test_a_cancellation_wins_over_the_deadline() -> None:
    """Both in one turn of the loop: whoever cancelled must not be told of a timeout."""

    async def wait_and_be_cancelled() -> None:
        with Deadline(0.01):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                waiting.cancel()
                raise

    waiting = asyncio.create_task(wait_and_be_cancelled())
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_an_outer_timeout_is_not_swallowed() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await wait(Deadline(NEVER))


async def test_another_task_may_go_on_with_the_waits() -> None:
    deadline = Deadline(NEVER)
    with deadline:
        await asyncio.sleep(0)
    deadline.allow(0.01)
    with pytest.raises(UpstreamTimeout):
        await asyncio.create_task(wait(deadline))


async def test_a_closed_deadline_ends_nothing() -> None:
    deadline = Deadline(0)
    deadline.close()
    with deadline:
        await turn()


@pytest.mark.parametrize("came", [True, False])
async def test_what_came_while_the_loop_stood_still_is_read_first(
    monkeypatch: pytest.MonkeyPatch, came: bool
) -> None:
    """Where nothing came, the wait ends a little later."""
    monkeypatch.setattr(module, "_LATE", 0.02)
    loop, (here, there) = asyncio.get_running_loop(), socket.socketpair()
    here.setblocking(False)

    async def read() -> bytes:
        with Deadline(0.01):
            return await loop.sock_recv(here, 1)

    with here, there:
        reading = asyncio.create_task(read())
        await turn()
        time.sleep(0.1)  # noqa: ASYNC251 - this is the fault
        if came:
            there.send(b"x")
            assert await reading == b"x"
        else:
            with pytest.raises(UpstreamTimeout):
                await asyncio.wait_for(reading, 5)


async def test_what_comes_in_the_middle_of_a_wait_counts_it_anew() -> None:
    """And again from the next wait on."""
    deadline = Deadline(100)
    with deadline:
        deadline.since -= 60
        deadline.renew()
        assert deadline.remaining == pytest.approx(100, abs=0.9)
    deadline.since -= 60
    with deadline:
        assert deadline.remaining == pytest.approx(100, abs=0.9)
    deadline.close()
