"""A node's run as a span, under its job's and above its model calls'."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import Status, StatusCode

_tracer = trace.get_tracer("sluice")


@contextmanager
def node_span(path: str) -> Iterator[None]:
    """`path` is `outer/inner` for subgraphs. An error is told without its text."""
    span = _tracer.start_span(f"node {path}")
    span.set_attribute("sluice.node", path)
    with trace.use_span(
        span, end_on_exit=True, record_exception=False, set_status_on_exception=False
    ):
        try:
            yield
        except BaseException:
            span.set_status(Status(StatusCode.ERROR))
            raise
