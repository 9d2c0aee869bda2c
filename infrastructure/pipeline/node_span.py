"""A node's run as a span, under its job's and above its model calls'."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from opentelemetry import trace
from opentelemetry.trace import ProxyTracerProvider, Status, StatusCode

_tracer = trace.get_tracer("sluice")
_NONE = nullcontext()


def node_span(path: str) -> AbstractContextManager[None]:
    """`path` is `outer/inner` for subgraphs. An error is told without its text.

    None is made where no provider is set: one that nobody records is not free.
    """
    untraced = isinstance(trace.get_tracer_provider(), ProxyTracerProvider)
    return _NONE if untraced else _span(path)


@contextmanager
def _span(path: str) -> Iterator[None]:
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
