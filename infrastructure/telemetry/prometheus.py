"""Prometheus text, made of plain counts when somebody asks for it, in whatever thread."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from sluice.application.metrics import JobMetrics

Reading = Callable[[], float]
Name = tuple[str, str]
"""Without `sluice_`, and what it means."""

RUNNING: Name = ("jobs_running", "Jobs running now")
TASKS: Name = ("tasks", "Tasks of the event loop")
BLOCKED: Name = ("loop_blocked", "Times the event loop was blocked for a second")


class Metrics:
    """`gauges` and `counters` say how each is read."""

    def __init__(
        self,
        metrics: JobMetrics,
        gauges: Mapping[Name, Reading],
        counters: Mapping[Name, Reading],
    ) -> None:
        self._metrics, self._gauges, self._counters = metrics, gauges, counters
        self._registry = CollectorRegistry()
        self._registry.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def serve(self, host: str, port: int) -> tuple[int, Callable[[], None]]:
        """Shows them over HTTP, from a thread of its own: the port, and how to stop.

        Raises OSError.
        """
        server, thread = start_http_server(port, host, self._registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return server.server_port, stop

    def collect(self) -> Iterable[Metric]:
        for (name, documentation), read in self._gauges.items():
            yield GaugeMetricFamily(f"sluice_{name}", documentation, read())
        for (name, documentation), read in self._counters.items():
            yield CounterMetricFamily(f"sluice_{name}", documentation, read())
        yield GaugeMetricFamily(
            "sluice_stream_lag_events",
            "Most events that one reader found waiting since the last scrape",
            self._metrics.take_lag(),
        )
        ended = CounterMetricFamily(
            "sluice_jobs_ended", "Jobs by path and end", labels=("path", "status")
        )
        for labels, count in list(self._metrics.ended.items()):
            ended.add_metric(labels, count)
        yield ended
        errors = CounterMetricFamily("sluice_errors", "Failed jobs by error code", labels=("code",))
        for code, count in list(self._metrics.errors.items()):
            errors.add_metric((code,), count)
        yield errors
