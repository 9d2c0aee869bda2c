"""Sends spans by OTLP, where an endpoint is named as OpenTelemetry's own variables have it.

Needs the extra `otel`. A program that has set up tracing before is left alone.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from threading import Thread
from typing import TYPE_CHECKING

from opentelemetry import trace

from sluice.infrastructure.telemetry.spans import ids_of_job

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

logger = logging.getLogger(__name__)

_STOPS_WITHIN_SECONDS = 2
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


@contextmanager
def traced() -> Iterator[None]:
    """The service's name is `sluice` unless OTEL_SERVICE_NAME says another."""
    stop = _started() if any(os.environ.get(name) for name in _ENDPOINTS) else _nothing
    try:
        yield
    finally:
        stop()


def _started() -> Callable[[], None]:
    """How to stop."""
    if find_spec("opentelemetry.sdk") is None or find_spec("opentelemetry.exporter") is None:
        logger.warning("no spans are sent: the extra `otel` is not installed")
        return _nothing
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    os.environ.setdefault("OTEL_SERVICE_NAME", "sluice")
    provider = TracerProvider(resource=Resource.create(), id_generator=job_ids_generator())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)

    def stop() -> None:
        """What is left is sent, if its receiver is there."""
        sending = Thread(target=provider.shutdown, name="spans", daemon=True)
        sending.start()
        sending.join(_STOPS_WITHIN_SECONDS)

    return stop


def job_ids_generator() -> "RandomIdGenerator":
    """Random ids, but for the span of a job."""
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class JobIds(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            ids = ids_of_job.get()
            return super().generate_trace_id() if ids is None else ids[0]

        def generate_span_id(self) -> int:
            ids = ids_of_job.get()
            return super().generate_span_id() if ids is None or ids[1] is None else ids[1]

    return JobIds()


def _nothing() -> None:
    return
