"""The worker process: runs jobs until it is told to leave."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from sluice.application.shadow import Shadow
from sluice.infrastructure.composition.starting import build_every_path, instrumented
from sluice.infrastructure.composition.worker import Worker
from sluice.infrastructure.jobs.redis.worker import JobWorker
from sluice.infrastructure.settings import Settings, WrongSetting
from sluice.infrastructure.telemetry.loop_watch import LoopWatch, watched_loop
from sluice.infrastructure.telemetry.prometheus import (
    BLOCKED,
    RUNNING,
    TASKS,
    Metrics,
    Name,
    Reading,
)
from sluice.interfaces.processes.cluster import joined

logger = logging.getLogger(__name__)


@asynccontextmanager
async def worker(
    settings: Settings, offline_url: str | None
) -> AsyncGenerator["WorkerProcess", None]:
    """Raises WrongSetting for a graph, a folder or a port that cannot be used."""
    container = Worker(settings=settings, offline_url=offline_url)
    async with instrumented(container), AsyncExitStack() as stack:
        build_every_path(container)
        await stack.enter_async_context(joined(container))
        stack.push_async_callback(container.completions().aclose)
        watch = stack.enter_context(watched_loop())
        port = None
        if settings.metrics_port is not None:
            port, stop = show_metrics(container, settings.metrics_port, watch)
            stack.callback(stop)
        shadow = container.shadow()
        stack.push_async_callback(shadow.aclose)
        yield WorkerProcess(
            container.worker(), shadow, grace=settings.shutdown_grace, metrics_port=port
        )


def show_metrics(container: Worker, port: int, watch: LoopWatch) -> tuple[int, Callable[[], None]]:
    """The port, and how to stop."""
    host, worker = container.settings().host, container.worker()
    loop = asyncio.get_running_loop()
    gauges: Mapping[Name, Reading] = {
        RUNNING: lambda: worker.running,
        TASKS: lambda: len(asyncio.all_tasks(loop)),
    }
    counters: Mapping[Name, Reading] = {BLOCKED: lambda: watch.blocked}
    try:
        return Metrics(container.metrics(), gauges, counters).serve(host, port)
    except OSError as error:
        raise WrongSetting(f"SLUICE_METRICS_PORT: {host}:{port}: {error.strerror}") from error


class WorkerProcess:
    """`grace` is in seconds; `metrics_port` where metrics are shown, if they are."""

    def __init__(
        self, worker: JobWorker, shadow: Shadow, *, grace: float, metrics_port: int | None
    ) -> None:
        self._worker, self._shadow, self._grace = worker, shadow, grace
        self.metrics_port = metrics_port
        self._leave = asyncio.Event()
        self._leaving = False

    async def run(self, signalled: Callable[[], None]) -> None:
        """The first signal lets what runs end, within the grace; a second exits at once.

        `signalled` is told of the first in its handler, whatever the event loop does then.
        """
        loop = asyncio.get_running_loop()

        def handle(number: int, _frame: object) -> None:
            if self._leaving:
                os._exit(128 + number)
            self._leaving = True
            signalled()
            loop.call_soon_threadsafe(self._leave.set)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, handle)
        running = asyncio.create_task(self._worker.run())
        leaving = asyncio.create_task(self._leave.wait())
        await asyncio.wait([running, leaving], return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not running.done():
            logger.info("leaving: no new jobs, %d are running", self._worker.running)
            await asyncio.gather(self._shadow.aclose(), self._worker.drain(self._grace))
            await asyncio.wait([running])
        if not running.cancelled() and (crash := running.exception()) is not None:
            raise crash
