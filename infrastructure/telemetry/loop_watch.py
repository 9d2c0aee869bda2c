"""Notices an event loop that does not turn, and says in the log what blocks it."""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

logger = logging.getLogger(__name__)

_BEAT = 0.25
_LATE = 1.0
"""Seconds without a beat after which a loop counts as blocked."""


class LoopWatch:
    """A thread looks at a heart that beats in the loop; `blocked` counts what it found."""

    def __init__(self) -> None:
        self.blocked = 0
        self._beat = time.monotonic()
        self._stop = threading.Event()
        self._loop_thread = 0
        self._heart: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._loop_thread = threading.get_ident()
        self._heart = asyncio.create_task(self._beating(), name="loop watch")
        threading.Thread(target=self._watch, name="loop watch", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()
        if self._heart is not None:
            self._heart.cancel()

    async def _beating(self) -> None:
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(_BEAT)

    def _watch(self) -> None:
        told = 0.0
        while not self._stop.wait(_BEAT):
            late = time.monotonic() - self._beat
            if late > _LATE and self._beat != told:
                told = self._beat
                self.blocked += 1
                logger.error("the event loop has not turned for %.1f s: %s", late, self._where())

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
