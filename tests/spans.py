"""Spans that are kept, and may be looked at."""

from collections.abc import Iterator
from functools import cache

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sluice.infrastructure.telemetry.tracing import job_ids_generator


@cache
def _exporter() -> InMemorySpanExporter:
    """Set once: OpenTelemetry has one provider for a process, be it for more than one session."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(id_generator=job_ids_generator())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = _exporter()
    exporter.clear()
    yield exporter
    exporter.clear()
