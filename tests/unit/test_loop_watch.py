"""A loop that does not turn is noticed while it stands still, and what holds it is named."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from sluice.infrastructure.telemetry import loop_watch
from sluice.infrastructure.telemetry.loop_watch import LoopWatch
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("no_task_left")

SECRET = "what the user asked"


class Lines(logging.Handler):
    """What is logged, from whichever thread; `come` is set by each line."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.come = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.come.set()

    def wait(self) -> None:
        """Blocks who calls it until the next line."""
        self.come.clear()
        assert self.come.wait(5)


@pytest.fixture
def log() -> Iterator[Lines]:
    lines = Lines()
    logging.getLogger(loop_watch.__name__).addHandler(lines)
    yield lines
    logging.getLogger(loop_watch.__name__).removeHandler(lines)


@pytest.fixture
async def watch(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LoopWatch]:
    monkeypatch.setattr(loop_watch, "_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(loop_watch, "_BLOCKED_SECONDS", 0.1)
    watch = LoopWatch()
    watch.start()
    await until(threads)
    (thread,) = threads()
    yield watch
    watch.stop()
    await asyncio.to_thread(thread.join, 5)


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "loop watch"]


def a_node_that_blocks(log: Lines, question: str) -> str:
    log.wait()
    return question


async def test_a_blocked_loop_is_told_while_it_is_blocked_with_the_place(
    watch: LoopWatch, log: Lines
) -> None:
    await asyncio.sleep(0)
    a_node_that_blocks(log, SECRET)
    (line,) = log.lines
    assert "event loop blocked for" in line
    assert "test_loop_watch.py" in line
    assert "a_node_that_blocks" in line
    assert watch.blocked == 1


async def test_no_value_of_what_blocks_is_told(watch: LoopWatch, log: Lines) -> None:
    await asyncio.sleep(0)
    a_node_that_blocks(log, SECRET)
    assert SECRET not in "".join(log.lines)


async def test_one_block_is_told_once_and_the_next_again(watch: LoopWatch, log: Lines) -> None:
    for told in (1, 2):
        a_node_that_blocks(log, SECRET)
        for _ in range(5):
            await asyncio.sleep(0)  # the heart's next beat is overdue
        assert (watch.blocked, len(log.lines)) == (told, told)


async def test_a_loop_that_turns_is_not_told_of(
    watch: LoopWatch, log: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_watch, "_BLOCKED_SECONDS", 5)  # no machine is so busy
    for _ in range(100):
        await asyncio.sleep(0)
    assert (watch.blocked, log.lines) == (0, [])


async def test_a_stopped_watch_leaves_neither_task_nor_thread() -> None:
    watch = LoopWatch()
    watch.start()
    await until(threads)
    (thread,) = threads()
    watch.stop()
    await asyncio.to_thread(thread.join, 5)
    assert not thread.is_alive()


async def test_what_blocks_before_the_loop_has_turned_is_the_start_and_not_watched() -> None:
    watch = LoopWatch()
    watch.start()
    assert threads() == []
    await until(threads)
    (thread,) = threads()
    watch.stop()
    await asyncio.to_thread(thread.join, 5)
