"""Where nobody records spans none is made, and the tracer is not asked for one."""

import pytest
from opentelemetry import trace
from opentelemetry.trace import ProxyTracerProvider
from pytest_mock import MockerFixture

from sluice.domain.events import Done
from sluice.infrastructure.llm.genai import call_span
from sluice.infrastructure.pipeline.node_span import node_span
from sluice.infrastructure.telemetry.spans import OpenTelemetrySpans
from tests.doubles import a_job


@pytest.fixture(autouse=True)
def no_provider(mocker: MockerFixture) -> None:
    """As in a process in which nobody has set one; other tests may have."""
    mocker.patch.object(trace, "get_tracer_provider", return_value=ProxyTracerProvider())
    for module in ("telemetry.spans", "pipeline.node_span"):
        mocker.patch(f"sluice.infrastructure.{module}._tracer", None)


def test_a_job_its_delivery_and_its_shadow_are_no_spans() -> None:
    spans, job = OpenTelemetrySpans(), a_job()
    with spans.delivery(job), spans.shadow(job, "A1"), spans.job(job, 1) as tell_end:
        tell_end(Done("A2", "yes"))
    with spans.job(job, None) as tell_end:
        tell_end(Done("A2", "yes"))


def test_a_node_is_no_span_whatever_it_raises_and_however_deep_it_is() -> None:
    with node_span("outer"), node_span("outer/inner"):
        pass
    with pytest.raises(KeyError), node_span("outer"):
        raise KeyError


def test_a_model_call_is_no_span() -> None:
    assert call_span("m", "new") is None
