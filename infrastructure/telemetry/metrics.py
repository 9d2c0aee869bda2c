"""Prometheus text, made of plain counts when somebody asks for it."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from application.tally import Tally

Reading = Callable[[], float]


class Metrics:
    """`gauges` and `counters`: from a name (without `sluice_`) and its help to its reading."""

    def __init__(
        self,
        tally: Tally,
        gauges: Mapping[tuple[str, str], Reading],
        counters: Mapping[tuple[str, str], Reading],
    ) -> None:
        self._tally, self._gauges, self._counters = tally, gauges, counters
        self._registry = CollectorRegistry()
        self._registry.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        for (name, documentation), read in self._gauges.items():
            yield GaugeMetricFamily(f"sluice_{name}", documentation, read())
        for (name, documentation), read in self._counters.items():
            yield CounterMetricFamily(f"sluice_{name}", documentation, read())
        yield GaugeMetricFamily(
            "sluice_stream_lag_events",
            "Most events that one reader found waiting since the last scrape",
            self._tally.take_lag(),
        )
        ended = CounterMetricFamily(
            "sluice_jobs_ended", "Jobs by path and end", labels=("path", "status")
        )
        for labels, count in self._tally.ended.items():
            ended.add_metric(labels, count)
        yield ended
        errors = CounterMetricFamily("sluice_errors", "Failed jobs by error code", labels=("code",))
        for code, count in self._tally.errors.items():
            errors.add_metric((code,), count)
        yield errors
