"""Notices a blocked event loop, and says in the log what blocks it."""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

logger = logging.getLogger(__name__)

_INTERVAL_SECONDS = 0.25
_BLOCKED_SECONDS = 1.0
"""Without a tick, after which a loop counts as blocked."""


class LoopWatch:
    """A thread looks for the ticks of a task in the loop; `blocked` counts how often none came."""

    def __init__(self) -> None:
        self.blocked = 0
        self._last_tick = time.monotonic()
        self._stop = threading.Event()
        self._loop_thread = 0
        self._ticking: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._loop_thread = threading.get_ident()
        self._ticking = asyncio.create_task(self._tick(), name="loop watch")

    def stop(self) -> None:
        self._stop.set()
        if self._ticking is not None:
            self._ticking.cancel()

    async def _tick(self) -> None:
        """A process that starts may block its loop: it is watched from when it turns."""
        self._last_tick = time.monotonic()
        threading.Thread(target=self._watch, name="loop watch", daemon=True).start()
        while True:
            self._last_tick = time.monotonic()
            await asyncio.sleep(_INTERVAL_SECONDS)

    def _watch(self) -> None:
        told = 0.0
        while not self._stop.wait(_INTERVAL_SECONDS):
            late = time.monotonic() - self._last_tick
            if late > _BLOCKED_SECONDS and self._last_tick != told:
                told = self._last_tick
                self.blocked += 1
                logger.error("event loop blocked for %.1f s: %s", late, self._where())

    def _where(self) -> str:
        """The innermost frames of the loop's thread, without any value of theirs."""
        frame = sys._current_frames().get(self._loop_thread)
        steps: list[str] = []
        while frame is not None and len(steps) < 6:
            code = frame.f_code
            steps.append(f"{PurePath(code.co_filename).name}:{frame.f_lineno} {code.co_name}")
            frame = frame.f_back
        return " < ".join(steps)


@contextmanager
def watched_loop() -> Iterator[LoopWatch]:
    """The running loop's watch."""
    watch = LoopWatch()
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()
