"""A model call as a span, and the only place that knows the names of its attributes.

OpenTelemetry's names for generative AI are being changed, so an operator says which are wanted.
No attribute holds a text: neither a prompt nor an answer is ever in a span.
"""

from collections.abc import Mapping
from typing import Any, Literal

from opentelemetry import trace
from opentelemetry.trace import ProxyTracerProvider, SpanKind, Status, StatusCode

from sluice.domain.events import Usage

Names = Literal["new", "old", "both"]

_NEW: Mapping[str, str] = {
    "provider": "gen_ai.provider.name",
    "operation": "gen_ai.operation.name",
    "model": "gen_ai.request.model",
    "input": "gen_ai.usage.input_tokens",
    "output": "gen_ai.usage.output_tokens",
    "finish": "gen_ai.response.finish_reasons",
}
_OLD: Mapping[str, str] = {
    **_NEW,
    "provider": "gen_ai.system",
    "input": "gen_ai.usage.prompt_tokens",
    "output": "gen_ai.usage.completion_tokens",
}
_NAMES: Mapping[Names, tuple[Mapping[str, str], ...]] = {
    "new": (_NEW,),
    "old": (_OLD,),
    "both": (_NEW, _OLD),
}
_tracer = trace.get_tracer("sluice")


def call_span(model: str, names: Names) -> "CallSpan | None":
    """None where no provider is set: a span that nobody records is not free."""
    untraced = isinstance(trace.get_tracer_provider(), ProxyTracerProvider)
    return None if untraced else CallSpan(model, names)


class CallSpan:
    """From the call's beginning on.

    It is never the current span: a call's generator may be left in any context.
    """

    def __init__(self, model: str, names: Names) -> None:
        self._span = _tracer.start_span(f"chat {model}", kind=SpanKind.CLIENT)
        self._names = names
        self._set("provider", "openai")
        self._set("operation", "chat")
        self._set("model", model)

    def failed(self, code: str) -> None:
        """An error's text may hold what was said."""
        self._span.set_status(Status(StatusCode.ERROR, code))
        self._span.set_attribute("error.type", code)

    def end(self, usage: Usage | None, finish_reason: str | None) -> None:
        if usage is not None:
            self._set("input", usage.input_tokens)
            self._set("output", usage.output_tokens)
        if finish_reason is not None:
            self._set("finish", (finish_reason,))
        self._span.end()

    def _set(self, what: str, value: Any) -> None:
        for names in _NAMES[self._names]:
            self._span.set_attribute(names[what], value)
