"""A process from its start to its exit status, whatever a user's threads still do at its end.

Python joins each thread of an executor and each that is no daemon before it exits, and asyncio
those of its default executor: a node that sleeps for an hour would keep a process that long.
"""

import asyncio
import gc
import logging
import signal
import sys
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from os import _exit as exit_now
from typing import Any

from sluice.infrastructure.settings import Settings, WrongSetting
from sluice.infrastructure.telemetry.logs import tell_loop_errors

logger = logging.getLogger(__name__)

_LAST_SECONDS = 4.5
"""From the end of the grace, or of what failed, to the exit, whatever still runs then."""
_FLUSH_SECONDS = 0.25
_SPARE_THREADS = 32
"""Beside one for each job that may run: what asyncio gives a large machine altogether."""


class ExitDeadline:
    """Ends the process in time when it cannot end by itself.

    That is so while a thread goes on, and also while the event loop is blocked. All stores
    survive it. Its own thread waits from the start: a signal's handler cannot start one safely.
    """

    def __init__(self, grace: float) -> None:
        """`grace`: seconds after a signal in which jobs, and threads, may go on."""
        self._grace = grace
        self._exits_at: float | None = None
        self._status = 0
        self._set = threading.Event()
        threading.Thread(target=self._wait, name="exit deadline", daemon=True).start()

    def signalled(self) -> None:
        """To be called by a signal's handler."""
        self._exit_within(self._grace + _LAST_SECONDS)

    def ended(self, status: int) -> None:
        """Nothing of ours runs any more. Whoever called may go on, unless there was a signal."""
        self._status = status
        self._set.set()

    def before_start(self, *_: object) -> None:
        """Handles a signal until there is anything to drain."""
        self._exit_within(_LAST_SECONDS)
        sys.exit(0)

    def _exit_within(self, seconds: float) -> None:
        """The first to say when has said it."""
        if self._exits_at is None:
            self._exits_at = time.monotonic() + seconds
            self._set.set()

    def _wait(self) -> None:
        self._set.wait()
        while self._exits_at is None:  # it ended by itself, and Python is left to join threads
            threading.main_thread().join(0.1)
            if not threading.main_thread().is_alive():
                self._exit_within(_LAST_SECONDS)
        time.sleep(max(0, self._exits_at - time.monotonic()))
        with suppress(RuntimeError):  # no thread starts any more: Python is all but gone
            # A pipe that nobody reads, or a lock that a thread holds, must not keep us.
            flush = threading.Thread(target=_flush, daemon=True)
            flush.start()
            flush.join(_FLUSH_SECONDS)
        exit_now(self._status)


def _flush() -> None:
    others = [one.name for one in threading.enumerate() if not one.daemon]
    logger.warning("exiting although threads are still running: %s", ", ".join(others))
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()


def run_to_exit(settings: Settings, work: Coroutine[Any, Any, None], exit_by: ExitDeadline) -> None:
    """Runs `work` on a loop of its own. Raises what it raises.

    `work` is handed `exit_by` by whoever made it, for the signals that it handles.
    """
    # Without a handler the first process of a container would ignore the signal.
    signal.signal(signal.SIGTERM, exit_by.before_start)
    gc.disable()  # what loads now stays: walking it again and again takes an eighth of the start
    import uvloop

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(work, settings.max_running + _SPARE_THREADS, exit_by))
    finally:
        work.close()  # if the signal came before it had begun


async def _run(work: Coroutine[Any, Any, None], threads: int, exit_by: ExitDeadline) -> None:
    """The loop's default executor is the users' own: LangGraph runs synchronous nodes in it.

    So none of our own work may wait for a thread of it, and one that sleeps in every running
    job leaves some for the others' synchronous routers and tools.
    """
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(tell_loop_errors)
    loop.set_default_executor(ThreadPoolExecutor(threads, thread_name_prefix="asyncio"))
    status = 0
    try:
        await work
    except Exception as error:
        status = 2 if isinstance(error, WrongSetting) else 1
        raise
    finally:
        exit_by.ended(status)
        # asyncio would join its threads before any error is told.
        loop.set_default_executor(ThreadPoolExecutor(1))
