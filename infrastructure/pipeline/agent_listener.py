"""What LangChain tells of tools, of reasoning, and of a node's own events, on every path.

A run has this handler only if one of its nodes declares any of it, so that others pay nothing.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult
from langgraph.errors import GraphBubbleUp

from sluice.application.model_calls import Emit
from sluice.domain.events import Json, Reasoning
from sluice.infrastructure.pipeline.answers import written
from sluice.infrastructure.pipeline.namespaces import namespace_of, path_of
from sluice.infrastructure.pipeline.run import GraphRun
from sluice.infrastructure.pipeline.running_node import RunningNode, located
from sluice.infrastructure.pipeline.thoughts import thought_in
from sluice.infrastructure.pipeline.tool_calls import (
    ModelCall,
    ToolCall,
    ToolCalls,
    encodable,
    failed_quietly,
    is_agents_model,
    lacks_its_response,
)
from sluice.infrastructure.pipeline.visibility import is_silent_call


class AgentListener(BaseCallbackHandler):
    """Tells of tools where the model names them, where they run, and where their result is.

    Whose work each of these is decides by itself: a call that a declared node names and a silent
    one runs is told of until it runs. `note` is what `noted` gave at the pause, if the run goes on.
    """

    run_inline = True

    def __init__(self, run: GraphRun, note: Mapping[str, Any] | None = None) -> None:
        self._run = run
        self._calls = ToolCalls()
        self._calls.recall((note or {}).get("named", ()))
        self._models: dict[UUID, ModelCall] = {}
        self._nodes: dict[UUID, tuple[str, bool]] = {}
        """Node runs whose output may hold a tool's result: where, and if it is an agent's model."""

    def noted(self) -> dict[str, Json]:
        return {"named": self._calls.noted()}

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if metadata is None or is_silent_call(tags, kwargs):
            return
        namespace, node = located(self._run, metadata)
        if node is None:
            return
        tools = node.heard_at(namespace, "tools")
        reasons = self._run.reader != "events" and node.heard_at(namespace, "reasoning")
        if tools or reasons:
            parent = self._calls.around(parent_run_id)
            self._models[run_id] = ModelCall(node, namespace, tools, reasons, parent)

    def on_llm_new_token(
        self, token: Any, *, chunk: object = None, run_id: UUID, **kwargs: Any
    ) -> None:
        model = self._models.get(run_id)
        if model is None or not isinstance(chunk, ChatGenerationChunk):
            return
        message = chunk.message
        if model.reasons:
            self._think(model, message)
        if model.tools and isinstance(message, AIMessageChunk):
            for piece in message.tool_call_chunks:
                if (call_id := piece["id"]) and (name := piece["name"]):
                    self._begin(model, call_id, name)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        model = self._models.pop(run_id, None)
        generation = response.generations[0][0] if response.generations else None
        if model is None or not isinstance(generation, ChatGeneration):
            return
        message = generation.message
        if model.reasons and not model.thought:
            self._think(model, message)
        if model.tools and isinstance(message, AIMessage):
            for made in message.tool_calls:
                if call_id := made["id"]:
                    call = self._begin(model, call_id, made["name"])
                    call.argue(model.node, model.namespace, made["args"])
            for broken in message.invalid_tool_calls:
                if call_id := broken["id"]:
                    self._fail(self._begin(model, call_id, broken["name"] or ""), model)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        if model := self._models.pop(run_id, None):
            for call in model.begun.values():
                self._fail(call, model)

    def on_tool_start(
        self,
        serialized: dict[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        name: str | None = None,
        tool_call_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._calls.runs_in(run_id, parent_run_id)
        namespace, node = located(self._run, metadata or {})
        if node is None or not node.heard_at(namespace, "tools"):
            return
        call = self._calls.announced.pop(tool_call_id or "", None)
        if call is None:
            named = (serialized or {}).get("name") or name or ""
            parent = self._calls.around(parent_run_id)
            call = ToolCall(tool_call_id or str(run_id), named, namespace, parent)
            call.tell(node, namespace, "started")
        call.argue(node, namespace, input_str if inputs is None else inputs)
        call.place = node, namespace
        self._calls.running[run_id] = call

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._calls.over(run_id)
        if call := self._calls.running.pop(run_id, None):
            if not isinstance(output, ToolMessage) and failed_quietly():
                call.tell(*call.placed, "failed")
            else:
                call.end(*call.placed, output)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool that waits for a human, or hands over, has not failed."""
        self._calls.over(run_id)
        call = self._calls.running.pop(run_id, None)
        if call is not None and not isinstance(error, GraphBubbleUp):
            call.tell(*call.placed, "failed")

    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._calls.runs_in(run_id, parent_run_id)
        if metadata and name is not None and name == metadata.get("langgraph_node"):
            self._nodes[run_id] = namespace_of(metadata), is_agents_model(name, metadata)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Of calls that no tool of LangChain's has run, a node's messages have the result."""
        self._calls.over(run_id)
        namespace, is_model = self._nodes.pop(run_id, ("", False))
        if not namespace or not self._calls.announced:
            return
        node = self._run.node_at(namespace)
        if isinstance(node, RunningNode) and node.heard_at(namespace, "tools"):
            end = ToolCall.fail if is_model and lacks_its_response(outputs) else ToolCall.end
            for message in written(outputs):
                if isinstance(message, ToolMessage) and (
                    call := self._calls.announced.pop(message.tool_call_id, None)
                ):
                    end(call, node, namespace, message)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._calls.over(run_id)
        self._nodes.pop(run_id, None)

    def on_custom_event(
        self,
        name: str,
        data: Any,
        *,
        run_id: UUID,
        metadata: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """`dispatch_custom_event` says what the stream writer says."""
        namespace, node = located(self._run, metadata or {})
        if node is not None:
            node.give(name, data, namespace)

    def thinker(self, run_id: UUID) -> Emit | None:
        """langchain-openai leaves out what a chat completion says of thoughts; its client tells."""
        model = self._models.get(run_id)
        if model is None or not model.reasons:
            return None

        def think(text: str) -> None:
            model.below = True
            self._tell_thought(model, text)

        return think

    def _think(self, model: ModelCall, message: BaseMessage) -> None:
        if not model.below and (text := thought_in(message)):
            model.thought = True
            self._tell_thought(model, encodable(text))

    def _tell_thought(self, model: ModelCall, text: str) -> None:
        model.node.show(model.namespace, Reasoning(text, path_of(model.namespace)))

    def _begin(self, model: ModelCall, call_id: str, name: str) -> ToolCall:
        """A call is told of once, however often its id comes: models that hand on what another
        says are at work in the same node meanwhile.
        """
        call = model.begun.get(call_id)
        if call is None:
            call = ToolCall(call_id, name, model.namespace, model.parent)
            self._calls.announced[call_id] = call
            for each in (model, *self._models.values()):
                if each.node is model.node:
                    each.begun.setdefault(call_id, call)
            call.tell(model.node, model.namespace, "started")
        return call

    def _fail(self, call: ToolCall, model: ModelCall) -> None:
        if self._calls.announced.get(call.id) is call:
            del self._calls.announced[call.id]
            call.tell(model.node, model.namespace, "failed")
