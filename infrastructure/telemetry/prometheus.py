"""Prometheus text, made of plain counts when somebody asks for it, in whatever thread."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest

from sluice.application.guard import Guard
from sluice.application.metrics import Histogram, JobMetrics

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
        guard: Guard | None = None,
    ) -> None:
        self._metrics, self._gauges, self._counters = metrics, gauges, counters
        self._guard = guard
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
        yield _counted(
            "jobs_ended", "Jobs by path and end", ("path", "status"), self._metrics.ended
        )
        metrics = self._metrics
        yield _counted("errors", "Failed jobs by error code", ("code",), metrics.errors)
        yield _counted(
            "left_early", "Jobs whose readers left before seeing anything", ("path",),
            metrics.left_early,
        )  # fmt: skip
        yield CounterMetricFamily(
            "sluice_fallbacks", "Jobs that A2 could not begin and A1 ran", metrics.fallbacks
        )
        yield _counted("tokens", "Tokens by path and kind", ("path", "kind"), metrics.tokens)
        yield from _shadow_metrics(metrics)
        for name, (documentation, by_path) in {
            "first_token": ("Seconds until a token was published", metrics.first_token),
            "first_character": ("Seconds until a reader had a character", metrics.first_character),
            "answer": ("Seconds until the whole answer was there", metrics.answer),
            "longest_gap": ("The most seconds between two tokens of a job", metrics.longest_gap),
        }.items():
            yield _histogram(f"sluice_{name}_seconds", documentation, by_path)
        if self._guard is not None:
            yield from _guard_metrics(self._guard)


def _counted(
    name: str, documentation: str, labels: Sequence[str], counts: Mapping[Any, int]
) -> Metric:
    family = CounterMetricFamily(f"sluice_{name}", documentation, labels=labels)
    for values, count in list(counts.items()):
        family.add_metric((values,) if isinstance(values, str) else values, count)
    return family


def _histogram(name: str, documentation: str, by_path: Mapping[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, documentation, labels=("path",))
    for path, histogram in list(by_path.items()):
        bounds = [*map(str, map(float, histogram.bounds)), "+Inf"]
        buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
        family.add_metric((path,), buckets, histogram.total)
    return family


def _shadow_metrics(metrics: JobMetrics) -> Iterable[Metric]:
    yield _counted(
        "shadow_runs", "Shadows by their path and what came of them", ("path", "result"),
        metrics.shadows,
    )  # fmt: skip
    yield _counted(
        "shadow_skipped", "Jobs that were drawn and have no shadow", ("reason",),
        metrics.shadows_skipped,
    )  # fmt: skip
    yield CounterMetricFamily(
        "sluice_shadow_tokens", "Upstream tokens of shadows", metrics.shadow_tokens
    )


def _guard_metrics(guard: Guard) -> Iterable[Metric]:
    yield GaugeMetricFamily(
        "sluice_guard_decides", "1 where this process decides on the rollout", guard.decides
    )
    evidence = GaugeMetricFamily(
        "sluice_guard_evidence", "Evidence that A2 is worse, by metric", labels=("metric",)
    )
    for metric, value in list(guard.evidence.items()):
        evidence.add_metric((metric,), value)
    yield evidence
    yield _counted(
        "guard_decisions", "What the guard has decided", ("action", "rule"), guard.decisions
    )
