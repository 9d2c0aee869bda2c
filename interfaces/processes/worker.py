"""The worker process: runs jobs until it is told to leave."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Self

from sluice.infrastructure.cluster import joined, worker_of
from sluice.infrastructure.container import Container, build_every_path
from sluice.infrastructure.settings import Settings, WrongSetting
from sluice.infrastructure.telemetry.loop_watch import LoopWatch
from sluice.infrastructure.telemetry.metrics import BLOCKED, RUNNING, TASKS, Metrics, Name, Reading

logger = logging.getLogger(__name__)


class Worker:
    """Opened before it runs, closed after."""

    metrics_port: int | None = None

    def __init__(self, settings: Settings, offline_url: str | None) -> None:
        self._settings = settings
        self._container = Container(settings=settings, offline_url=offline_url)
        self._stack = AsyncExitStack()
        self._leave = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Raises WrongSetting for a graph, a folder or a port that cannot be used."""
        async with AsyncExitStack() as stack:
            instrumentor = self._container.instrumentor()
            instrumentor.instrument()
            stack.push_async_callback(instrumentor.uninstrument)
            build_every_path(self._container)
            cluster = await stack.enter_async_context(joined(self._container))
            stack.push_async_callback(self._container.completions().aclose)
            watch = LoopWatch()
            watch.start()
            stack.callback(watch.stop)
            self._worker = worker_of(self._container, cluster)
            if self._settings.metrics_port is not None:
                stack.callback(self._show_metrics(self._settings.metrics_port, watch))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def run(self) -> None:
        """The first signal lets what runs end, within the grace; a second exits at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told, number)
        running = asyncio.create_task(self._worker.run())
        leaving = asyncio.create_task(self._leave.wait())
        await asyncio.wait([running, leaving], return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not running.done():
            logger.info("leaving: no new jobs, %d are running", self._worker.running)
            await self._worker.drain(self._settings.shutdown_grace)
            await asyncio.wait([running])
        if not running.cancelled() and (crash := running.exception()) is not None:
            raise crash

    def _show_metrics(self, port: int, watch: LoopWatch) -> Callable[[], None]:
        """Returns how to stop it."""
        host = self._settings.host
        loop, worker = asyncio.get_running_loop(), self._worker
        gauges: Mapping[Name, Reading] = {
            RUNNING: lambda: worker.running,
            TASKS: lambda: len(asyncio.all_tasks(loop)),
        }
        counters: Mapping[Name, Reading] = {BLOCKED: lambda: watch.blocked}
        metrics = Metrics(self._container.tally(), gauges, counters)
        try:
            self.metrics_port, stop = metrics.serve(host, port)
        except OSError as error:
            raise WrongSetting(f"SLUICE_METRICS_PORT: {host}:{port}: {error.strerror}") from error
        return stop

    def _told(self, number: int) -> None:
        if self._leave.is_set():
            os._exit(128 + number)
        self._leave.set()
