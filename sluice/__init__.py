"""Sluice: tokens from a LangGraph pipeline to a browser over SSE.

What a graph of your own may import is listed here and in `sluice.testing`, and what a program
that asks may import in `sluice.client`; everything below is Sluice's own and may change. The
layers stand at the top level of the repository and are importable as `sluice.domain`,
`sluice.application` and so on, so that a user's own package named `domain` stays the user's.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice.application.heard_calls import silent
    from sluice.domain.errors import (
        AnswerTooLarge,
        ChatError,
        PipelineError,
        UpstreamAuth,
        UpstreamBadResponse,
        UpstreamDisconnected,
        UpstreamError,
        UpstreamRateLimited,
        UpstreamTimeout,
        UpstreamTruncated,
        UpstreamUnavailable,
    )
    from sluice.domain.ports import LLMClientPort, Prompt, Tool, ToolCall

__all__ = [
    "AnswerTooLarge",
    "ChatError",
    "LLMClientPort",
    "PipelineError",
    "Prompt",
    "Tool",
    "ToolCall",
    "UpstreamAuth",
    "UpstreamBadResponse",
    "UpstreamDisconnected",
    "UpstreamError",
    "UpstreamRateLimited",
    "UpstreamTimeout",
    "UpstreamTruncated",
    "UpstreamUnavailable",
    "silent",
]

_HOMES = {
    **dict.fromkeys(("LLMClientPort", "Prompt", "Tool", "ToolCall"), "sluice.domain.ports"),
    "silent": "sluice.application.heard_calls",
}
"""Where a name comes from, if it is no error."""

if not TYPE_CHECKING:  # to a type checker it would say that every name is there

    def __getattr__(name: str) -> object:
        """On first use: whoever imports only `sluice.something` loads nothing else."""
        if name == "client":
            return import_module("sluice.client")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = _HOMES.get(name, "sluice.domain.errors")
        value = globals()[name] = getattr(import_module(module), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
