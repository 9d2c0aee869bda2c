"""Whether a user's call is a span of ours: not where another instrumentation tells of it."""

from collections.abc import Mapping
from typing import Any

from opentelemetry import trace

from sluice.infrastructure.llm.genai import CallSpan, Names, call_span

_OTHERS = ("openai", "openinference", "langfuse", "traceloop")
"""In the names of those that begin a span around the SDK's methods, above its one request."""


def span_of(body: Mapping[str, Any], names: Names, *, alone: bool) -> CallSpan | None:
    """`alone`: nobody had wrapped the SDK's request before us.

    A call that was told twice would have cost twice.
    """
    scope = getattr(trace.get_current_span(), "instrumentation_scope", None)
    if not alone or any(other in getattr(scope, "name", "") for other in _OTHERS):
        return None
    return call_span(str(body.get("model")), names)
