"""A loop that is woken often lets a moment pass; one that has something to do does not."""

import asyncio
import time

import pytest

from sluice.infrastructure.llm import arrivals as module
from sluice.infrastructure.llm.arrivals import arrivals

STEP_S = 100e-6
"""Longer than between two callbacks of a loop that has nothing else to do."""


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds each; nobody waits for them."""
    slept: list[float] = []
    monkeypatch.setattr(module, "sleep", slept.append)
    return slept


def read() -> None:
    """As a body does for each of its reads."""
    ours = arrivals()
    ours.left -= 1
    if not ours.left:
        ours.look()


async def many() -> None:
    """Enough for their rate to be known, all at once."""
    for _ in range(128):
        read()


def work(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


async def quiet() -> None:
    """Until a wait that was asked for has been made, or given up."""
    await asyncio.sleep(0.01)


async def test_what_comes_often_is_waited_for_once_a_moment(slept: list[float]) -> None:
    await many()
    await quiet()
    assert len(slept) == 1
    assert 0 < slept[0] < 0.002
    read()
    read()
    await quiet()
    assert len(slept) == 2


async def test_what_comes_seldom_is_not_waited_for(slept: list[float]) -> None:
    for _ in range(70):
        read()
        for _ in range(5):
            await asyncio.sleep(0)
        work(0.0011)
    assert not slept


async def test_what_has_become_seldom_is_not_waited_for(slept: list[float]) -> None:
    await many()
    for _ in range(65):
        await asyncio.sleep(0.002)
        read()
    await quiet()
    slept.clear()
    read()
    await quiet()
    assert not slept


async def test_a_loop_with_work_to_do_does_it_first(slept: list[float]) -> None:
    """Twenty steps, each a turn of the loop, as when a job begins."""
    done: list[int] = []
    await many()
    for _ in range(20):
        work(STEP_S)
        done.append(len(slept))
        await asyncio.sleep(0)
    assert done == [0] * 20


async def test_a_loop_that_is_busy_all_the_time_gives_the_wait_up(slept: list[float]) -> None:
    await many()
    until = time.perf_counter() + 0.01
    while time.perf_counter() < until:
        work(STEP_S)
        await asyncio.sleep(0)
    assert not slept


def test_each_loop_has_its_own() -> None:
    async def ours() -> module.Arrivals:
        assert arrivals() is arrivals()
        return arrivals()

    assert asyncio.run(ours()) is not asyncio.run(ours())
