"""A1: stages and the whole answer, from `astream_events(version="v2")`.

`on_chain_start` also fires for conditional edges, for the steps inside a node and for a subgraph
under its node's name, and once per try under a RetryPolicy. A stage is the outermost run of a
task's namespace that carries its node's name; it is closed by an end of the same depth.
"""

from collections.abc import Sequence
from contextlib import aclosing
from functools import partial
from typing import Any
from uuid import UUID

from langchain_core.tracers import event_stream

from sluice.application.heard_calls import CountedCall
from sluice.application.model_calls import CallTeller
from sluice.application.ports import Tell
from sluice.domain.chat import Question
from sluice.domain.events import Done, Event
from sluice.infrastructure.pipeline.answers import done
from sluice.infrastructure.pipeline.calls import CallListener
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.nodes import GraphRun, path_of
from sluice.infrastructure.pipeline.runs import configured, start, translated
from sluice.infrastructure.pipeline.stages import Stages
from sluice.infrastructure.pipeline.turns import Turns


class StagePath:
    def __init__(self, graph: WatchedGraph, *, offline: bool = False) -> None:
        self._graph, self._offline = graph, offline

    async def run(self, question: Question, tell: Tell, /) -> Done:
        with translated():
            return await self._read(question, tell)

    async def _read(self, question: Question, tell: Tell) -> Done:
        state, run = start(self._graph, question)
        reader = _Reader(self._graph, run)
        final: object = None
        run.listener = listener = CallListener(run.calls, self._graph.declared)
        run.take = partial(_unheard, listener)
        async with configured(self._graph, listener) as config:
            events = self._graph.graph.astream_events(
                state, config, version="v2", include_types=["chain"]
            )
            async with aclosing(events):  # type: ignore[type-var]
                async for event in events:
                    if event["event"] == "on_chain_end" and not event["parent_ids"]:
                        final = event["data"].get("output")
                    for stage in reader.stages(event):
                        tell(stage)
        return done("A1", final, run, offline=self._offline)


_EVENTS = getattr(event_stream, "_AstreamEventsCallbackHandler", ())
"""What `astream_events` listens with; it makes every model stream, though nobody wants tokens."""


def _unheard(listener: CallListener, _: UUID, handlers: Sequence[object]) -> CallTeller | None:
    alone = all(handler is listener or isinstance(handler, _EVENTS) for handler in handlers)
    return CountedCall(None) if alone else None


class _Reader:
    def __init__(self, graph: WatchedGraph, run: GraphRun) -> None:
        self._graph = graph
        self._stages = Stages(graph.stages, run, Turns())
        self._open: dict[str, int] = {}
        """Depth of the outermost run, by namespace."""

    def stages(self, event: Any) -> list[Event]:
        return [*self._of(event), *self._stages.left()]

    def _of(self, event: Any) -> list[Event]:
        metadata = event["metadata"]
        node = metadata.get("langgraph_node")
        if node is None or event["name"] != node:
            return []
        namespace, depth = metadata["langgraph_checkpoint_ns"], len(event["parent_ids"])
        if event["event"] == "on_chain_start" and namespace not in self._open:
            self._open[namespace] = depth
            shown = self._graph.declared(path_of(namespace), metadata).stage
            return self._stages.started(namespace, shown=shown)
        if event["event"] == "on_chain_end" and self._open.get(namespace) == depth:
            del self._open[namespace]
            return self._stages.ended(namespace)
        return []
