"""A span of a node, where somebody records: its name, its place, and that it failed, not why."""

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from sluice.infrastructure.pipeline.node_span import node_span


def test_a_nodes_span_lies_below_the_one_that_runs_it(spans: InMemorySpanExporter) -> None:
    with node_span("outer"), node_span("outer/inner"):
        pass
    inner, outer = spans.get_finished_spans()
    assert [outer.name, inner.name] == ["node outer", "node outer/inner"]
    assert [span.attributes for span in (outer, inner)] == [
        {"sluice.node": "outer"},
        {"sluice.node": "outer/inner"},
    ]
    assert inner.parent is not None
    assert inner.parent == outer.context
    assert outer.parent is None


def test_a_node_that_fails_says_so_and_not_why(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="secret"), node_span("outer"):
        raise ValueError("secret")
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert span.events == ()
    assert span.end_time is not None
