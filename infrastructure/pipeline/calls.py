"""What LangChain tells about model calls: their cost, their end, and which of them speak."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from sluice.application.heard_calls import muted
from sluice.application.model_calls import ModelCalls, current_node
from sluice.domain.events import Usage
from sluice.infrastructure.pipeline.graph import Declared
from sluice.infrastructure.pipeline.nodes import path_of

SPOKEN = "sluice_spoken"
"""Marks the metadata of a call that speaks: its value is the node's path."""


class CallListener(BaseCallbackHandler):
    """Sums up what calls cost, and marks those whose chunks are for the user.

    A call speaks when its node does, unless it is tagged `nostream` or its text is structured
    output; a conditional edge has its node's metadata, and is silent. LangGraph's `messages`
    items carry the very metadata that is marked here.
    """

    run_inline = True

    def __init__(
        self, calls: ModelCalls, declared: Callable[[str, Mapping[str, Any]], Declared]
    ) -> None:
        self._calls, self._declared = calls, declared
        self._spoken: set[UUID] = set()

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[Any]],
        *,
        run_id: UUID,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if metadata is None or muted.get() or "nostream" in (tags or ()) or _structured(kwargs):
            return
        path = path_of(metadata.get("langgraph_checkpoint_ns", ""))
        node = current_node.get()
        in_edge = node is not None and not node.path  # a thread of the node's own may know of none
        if path and not in_edge and self._declared(path, metadata).speaks:
            metadata[SPOKEN] = path
            self._spoken.add(run_id)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        spoken = run_id in self._spoken
        self._spoken.discard(run_id)
        generation = response.generations[0][0] if response.generations else None
        if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
            message = generation.message
            reason = message.response_metadata.get("finish_reason")
            usage = message.usage_metadata
            self._calls.ended(
                usage
                and Usage(usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]),
                reason if isinstance(reason, str) else None,
                spoken=spoken,
            )

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._spoken.discard(run_id)


def _structured(call: Mapping[str, Any]) -> bool:
    options = call.get("options") or {}
    wanted = (call.get("invocation_params") or {}).get("response_format")
    return bool(options.get("ls_structured_output_format") or wanted)
