"""Spans of jobs, deliveries and shadows, by OpenTelemetry.

A job's trace is named after the job: whoever knows the job's id, as a gateway does that delivers
it, can link to it without being told anything.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from sluice.application.spans import TellEnd
from sluice.domain.chat import ExecutionPath, Job, JobId
from sluice.domain.events import Cancelled, Failed, Terminal
from sluice.domain.rollout import FLAG

_tracer = trace.get_tracer("sluice")
ids_of_job: ContextVar[tuple[int, int | None] | None] = ContextVar("ids_of_job", default=None)
"""The trace's and the span's, for the span that is begun in this context; a span of None is any."""


class OpenTelemetrySpans:
    """The SpansPort."""

    @contextmanager
    def job(self, job: Job, attempt: int | None) -> Iterator[TellEnd]:
        """The current span of all that the job does."""
        trace_id, span_id = job_ids(job.id, attempt or 1)
        token = ids_of_job.set((trace_id, span_id if attempt else None))
        span = _tracer.start_span("job", context=Context(), kind=SpanKind.CONSUMER)
        ids_of_job.reset(token)
        span.set_attribute("sluice.job.id", job.id)
        span.set_attribute("sluice.path", job.path)
        if attempt:
            span.set_attribute("sluice.attempt", attempt)
        if job.flag is not None:
            span.add_event("feature_flag.evaluation", _evaluation(job))

        def ended(end: Terminal) -> None:
            span.set_attribute("sluice.end", type(end).__name__.lower())
            if isinstance(end, Failed):
                span.set_status(Status(StatusCode.ERROR, end.code))
                span.set_attribute("error.type", end.code)
            if isinstance(end, Cancelled):
                span.set_attribute("sluice.cancelled_by", end.reason)

        with trace.use_span(
            span, end_on_exit=True, record_exception=False, set_status_on_exception=False
        ):
            yield ended

    @contextmanager
    def delivery(self, job: Job) -> Iterator[None]:
        """A trace of its own: it may begin before the job does, and end long after."""
        span = _tracer.start_span(
            "delivery", context=Context(), kind=SpanKind.PRODUCER, links=[_link(job)]
        )
        span.set_attribute("sluice.job.id", job.id)
        try:
            yield
        finally:
            span.end()

    @contextmanager
    def shadow(self, job: Job, path: ExecutionPath) -> Iterator[None]:
        """A trace of its own: who looks at the job's finds there what its user has waited for."""
        span = _tracer.start_span("shadow", context=Context(), links=[_link(job)])
        span.set_attribute("sluice.job.id", job.id)
        span.set_attribute("sluice.path", path)
        with trace.use_span(
            span, end_on_exit=True, record_exception=False, set_status_on_exception=False
        ):
            yield


def _link(job: Job) -> Link:
    trace_id, span_id = job_ids(job.id)
    return Link(SpanContext(trace_id, span_id, True, TraceFlags(TraceFlags.SAMPLED)))


def job_ids(job_id: JobId, attempt: int = 1) -> tuple[int, int]:
    """Of its trace and of an attempt's span: what is drawn at random elsewhere."""
    trace_id = int.from_bytes(sha256(job_id.encode()).digest()[:16])
    return trace_id, int.from_bytes(sha256(f"{job_id} {attempt}".encode()).digest()[:8])


def _evaluation(job: Job) -> dict[str, str | float]:
    flag = job.flag
    if flag is None:
        return {}
    return {
        "feature_flag.key": FLAG,
        "feature_flag.provider.name": flag.source,
        "feature_flag.result.variant": job.path,
        "feature_flag.result.value": flag.share,
        "feature_flag.result.reason": flag.reason,
    }
