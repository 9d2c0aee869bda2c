"""A1: stages and the whole answer, from `astream_events(version="v2")`.

`on_chain_start` also fires for conditional edges, for the steps inside a node and for a subgraph
under its node's name, and once per try under a RetryPolicy. A stage is the outermost run of a
task's namespace that carries its node's name; it is closed by an end of the same depth.
"""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any
from uuid import UUID

from langchain_core.tracers import event_stream

from sluice.application.heard_calls import CountedCall
from sluice.application.model_calls import CallTeller
from sluice.application.ports import Tell
from sluice.domain.chat import Question
from sluice.domain.graph_state import Outcome
from sluice.infrastructure.pipeline.calls import CallListener
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.namespaces import namespace_of
from sluice.infrastructure.pipeline.run import GraphRun
from sluice.infrastructure.pipeline.runs import Call, called, outcome_of, translated


class StagePath:
    def __init__(self, graph: WatchedGraph, *, offline: bool = False) -> None:
        self._graph, self._offline = graph, offline

    async def run(self, question: Question, tell: Tell, /) -> Outcome:
        with translated():
            return await self._read(question, tell)

    async def _read(self, question: Question, tell: Tell) -> Outcome:
        async with called(self._graph, question, tell, "events", _Counter) as call:
            return await outcome_of(call, self._learn, "A1", offline=self._offline)

    async def _learn(self, call: Call["_Counter"]) -> object:
        final: object = None
        stages = _StageEvents(call.run)
        events = call.called.astream_events(
            call.input, call.config, version="v2", include_types=["chain"], **call.options
        )
        async with aclosing(events):  # type: ignore[type-var]
            async for event in events:
                if event["event"] == "on_chain_end" and not event["parent_ids"]:
                    final = event["data"].get("output")
                stages.learn(event)
        return final


_EVENTS = getattr(event_stream, "_AstreamEventsCallbackHandler", ())
"""What `astream_events` listens with; it makes every model stream, though nobody wants tokens."""


class _Counter(CallListener):
    def take(self, run_id: UUID, handlers: Sequence[object]) -> CallTeller | None:
        left = [handler for handler in handlers if not isinstance(handler, _EVENTS)]
        return CountedCall(None, end=self.end_of(run_id)) if self._run.hears_alone(left) else None


class _StageEvents:
    def __init__(self, run: GraphRun) -> None:
        self._run = run
        self._open: dict[str, int] = {}
        """Depth of the outermost run, by namespace."""

    def learn(self, event: Any) -> None:
        metadata = event["metadata"]
        node = metadata.get("langgraph_node")
        if node is not None and event["name"] == node:
            namespace, depth = namespace_of(metadata), len(event["parent_ids"])
            if event["event"] == "on_chain_start" and namespace not in self._open:
                self._open[namespace] = depth
                self._run.stage_started(namespace, metadata)
            elif event["event"] == "on_chain_end" and self._open.get(namespace) == depth:
                del self._open[namespace]
                self._run.stage_ended(namespace)
        self._run.stages_left()
