"""A deadline for every wait of one upstream call, at the price of one timer for all of them."""

import asyncio
from types import TracebackType
from typing import Self

from sluice.domain.errors import UpstreamTimeout

_LATE = 1.0
"""Seconds: a timer that goes off later than that says that the loop stood still."""


class Deadline:
    """Entered around each wait; raises UpstreamTimeout when a wait outlasts it.

    At first one deadline spans all waits, counted from construction. It is counted anew from the
    next wait on when `restarts` is set, or at once by `renew`; that is done for what was waited
    for and for nothing else. What happens between waits never raises, so a slow consumer is no
    timeout. As with `asyncio.timeout`, a cancellation from outside stays one.

    The timer is not moved with every restart: when it goes off it looks how long the deadline
    has run and sets itself again. A token costs it two attribute stores.

    A process that was frozen, or whose loop was blocked, first reads what came meanwhile.
    """

    __slots__ = (
        "_cancelling",
        "_expired",
        "_loop",
        "_seconds",
        "_task",
        "_timer",
        "restarts",
        "since",
        "time",
    )

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.time = self._loop.time
        self._seconds = seconds
        self.since = self.time()
        self.restarts = False
        self._expired = False
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._timer = self._loop.call_later(seconds, self._look)

    @property
    def remaining(self) -> float:
        return self.since + self._seconds - self.time()

    def renew(self) -> None:
        """What is waited for has come in the middle of a wait: counted anew from now, and again
        from the next wait on.
        """
        self.since, self.restarts = self.time(), True

    def allow(self, seconds: float) -> None:
        """A new deadline, from the next wait on."""
        self._timer.cancel()
        self._seconds, self.restarts = seconds, True
        self.since = self.time()
        self._timer = self._loop.call_later(seconds, self._look)

    def close(self) -> None:
        self._timer.cancel()

    def __enter__(self) -> Self:
        task = asyncio.current_task(
            self._loop
        )  # without it, a system call per token finds the loop
        if task is None:
            raise RuntimeError("a deadline needs a task that it can cancel")
        self._cancelling = task.cancelling()
        if self.restarts:
            self.since, self.restarts = self.time(), False
        self._task = task
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        if self._expired and task is not None:
            self._expired = False
            if task.uncancel() <= self._cancelling:
                raise UpstreamTimeout from error

    def _look(self) -> None:
        if self._task is None:
            self._timer = self._loop.call_later(self._seconds, self._look)
        elif self.remaining > 0:
            self._timer = self._loop.call_later(self.remaining, self._look)
        elif self.time() - self._timer.when() > _LATE:
            self._timer = self._loop.call_later(_LATE, self._look)
        else:
            self._expired = True
            self._task.cancel()
