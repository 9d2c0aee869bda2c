"""What LangChain tells of a run, on every path: calls' cost and end, and which of them speak."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult
from langgraph.errors import ParentCommand

from sluice.application.heard_calls import End
from sluice.application.model_calls import CallTeller, Emit
from sluice.domain.events import StageCompleted, Usage
from sluice.infrastructure.openai_sdk.callers import run_around
from sluice.infrastructure.openai_sdk.ends import usage_of
from sluice.infrastructure.pipeline.finish_reasons import Model, finish_reason_of, model_of
from sluice.infrastructure.pipeline.namespaces import path_of
from sluice.infrastructure.pipeline.run import GraphRun
from sluice.infrastructure.pipeline.running_node import RunningNode, located
from sluice.infrastructure.pipeline.visibility import is_silent_call

SPOKEN = "sluice_spoken"
"""Marks the metadata of a call that speaks: its value is the namespace it speaks at."""


class CallListener(BaseCallbackHandler):
    """Sums up what calls cost, and marks those whose chunks are for the user.

    LangGraph's `messages` items carry the very metadata that is marked here. Nobody wrapped the
    nodes of a graph which a node runs by itself: of these it knows who fails and who hands over to
    the graph above, and keeps the messages of one that a setting names where a silent node runs it.
    """

    run_inline = True

    def __init__(self, run: GraphRun) -> None:
        self._run = run
        run.listener = self
        self._spoken: dict[UUID, Emit] = {}
        """What takes the text of a running call that speaks."""
        self._marked: dict[UUID, dict[str, Any]] = {}
        """The metadata of such a call."""
        self._models: dict[UUID, Model] = {}
        """Its model."""
        self._streamed: dict[UUID, None] = {}
        self._reasons: dict[UUID, str] = {}
        """Finish reasons as the upstream said them. LangChain joins what it hears of them, and
        hears of none in a chunk without a delta.
        """
        self._around: dict[UUID, UUID] = {}
        """The run of the model in which another is called: it may hand on what that one says."""
        self._costs: dict[UUID, list[tuple[Usage | None, str | None]]] = {}
        """What the calls inside a model's run have cost, and why they ended."""
        self._named: dict[str, tuple[UUID, object]] = {}
        """The outermost run and the input of an inner node that is named, by its namespace."""
        self._inner: dict[UUID, str] = {}
        """The namespaces of inner nodes, by their outermost runs."""

    @property
    def run(self) -> GraphRun:
        return self._run

    def take(self, run_id: UUID, handlers: Sequence[object]) -> CallTeller | None:
        return None

    def end_of(self, run_id: UUID) -> End:
        def end(finish_reason: str | None) -> None:
            if finish_reason is not None:
                self._reasons[run_id] = finish_reason

        return end

    def _taker(self, node: RunningNode, namespace: str) -> Emit:
        """What the text of a call that speaks is given to."""
        return node.note()

    def _hand_on(self, outer: UUID, node: RunningNode, namespace: str) -> None:
        """What the run `outer` says may be what a call inside it has told."""
        self._marked[outer].pop(SPOKEN, None)

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
        if metadata is None:
            return
        if outer := run_around():
            self._around[run_id] = outer
        if is_silent_call(tags, kwargs):
            return
        namespace, node = located(self._run, metadata)
        if node is not None and node.heard_at(namespace):
            metadata[SPOKEN] = namespace
            self._marked[run_id] = metadata
            self._spoken[run_id] = self._taker(node, namespace)
            self._models[run_id] = model_of(metadata)
            if outer and outer in self._spoken:
                self._hand_on(outer, node, namespace)

    def on_llm_new_token(
        self, token: Any, *, chunk: object = None, run_id: UUID, **kwargs: Any
    ) -> None:
        take = self._spoken.get(run_id)
        if take is None or not isinstance(chunk, ChatGenerationChunk):
            return
        message = chunk.message
        if isinstance(message, AIMessageChunk):
            content = message.content
            if text := content if isinstance(content, str) else str(message.text):
                self._streamed[run_id] = None
                take(text)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        spoken = self._spoken.pop(run_id, None) is not None
        generation = response.generations[0][0] if response.generations else None
        if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
            message = generation.message
            reason = self._reasons.get(run_id) or finish_reason_of(message)
            usage, reason = self._own(run_id, usage_of(message.usage_metadata), reason)
            self._run.calls.ended(usage, reason, spoken=spoken)
            model, reasons = self._models.get(run_id), self._run.reasons
            streamed = run_id in self._streamed
            if model and reasons.is_cut(model, message, streamed=streamed, reason=reason):
                self._run.cut(str(message.text))
        self._over(run_id)

    def _own(
        self, run_id: UUID, usage: Usage | None, reason: str | None
    ) -> tuple[Usage | None, str | None]:
        """Of a model that hands on what another says the cost is that one's, and so is the reason,
        if it leaves that out.
        """
        cost = usage
        if inside := self._costs.get(run_id):
            usage = None if any(usage == each for each, _ in inside) else usage
            reason = reason or inside[-1][1]
        if outer := self._around.get(run_id):
            self._costs.setdefault(outer, []).append((cost, reason))
        return usage, reason

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._spoken.pop(run_id, None)
        self._over(run_id)

    def _over(self, run_id: UUID) -> None:
        self._marked.pop(run_id, None)
        self._models.pop(run_id, None)
        self._streamed.pop(run_id, None)
        self._reasons.pop(run_id, None)
        self._around.pop(run_id, None)
        self._costs.pop(run_id, None)

    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if metadata is None or name is None or name != metadata.get("langgraph_node"):
            return
        namespace, node = located(self._run, metadata)
        if node is None or namespace == node.namespace:
            return
        if namespace not in self._inner.values():
            self._inner[run_id] = namespace
        path = path_of(namespace)
        if (
            self._run.visibility.is_named(path)
            and self._run.node_at(namespace) is node
            and not node.heard_at(node.namespace)
        ):
            self._named.setdefault(namespace, (run_id, inputs))

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._inner.pop(run_id, None)
        for namespace, (outermost, inputs) in list(self._named.items()):
            if outermost == run_id:
                del self._named[namespace]
                self._run.answer.add(outputs, inputs, inside=True)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        if (namespace := self._inner.pop(run_id, None)) is None:
            return
        if isinstance(error, ParentCommand):
            self._run.on_loop(self._run.node_left, namespace, StageCompleted)
        else:
            self._run.on_loop(self._run.node_failed, namespace)
        self._named = {at: named for at, named in self._named.items() if named[0] != run_id}
