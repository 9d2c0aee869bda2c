"""A1: stages and the whole answer, from `astream_events(version="v2")`.

`on_chain_start` also fires for conditional edges, for the steps inside a node and for a subgraph
under its node's name, and once per try under a RetryPolicy. A stage is the outermost run of a
task's namespace that carries its node's name; it is closed by an end of the same depth.
"""

from contextlib import aclosing
from typing import Any

from application.ports import Tell
from domain.chat import Question
from domain.events import Done, StageCompleted, StageStarted
from infrastructure.pipeline.answers import done
from infrastructure.pipeline.calls import CallListener
from infrastructure.pipeline.graph import WatchedGraph, path_of
from infrastructure.pipeline.runs import config_of, start, translated
from infrastructure.pipeline.stages import Stages


class StagePath:
    def __init__(self, graph: WatchedGraph, *, offline: bool = False) -> None:
        self._graph, self._offline = graph, offline

    async def run(self, question: Question, tell: Tell, /) -> Done:
        with translated():
            return await self._read(question, tell)

    async def _read(self, question: Question, tell: Tell) -> Done:
        state, run = start(self._graph, question)
        reader = _Reader(self._graph)
        final: object = None
        events = self._graph.graph.astream_events(
            state,
            config_of(self._graph, CallListener(run.calls, self._graph.declared)),
            version="v2",
            include_types=["chain"],
        )
        async with aclosing(events):  # type: ignore[type-var]
            async for event in events:
                if event["event"] == "on_chain_end" and not event["parent_ids"]:
                    final = event["data"].get("output")
                elif stage := reader.stage(event):
                    tell(stage)
        return done("A1", final, run, offline=self._offline)


class _Reader:
    def __init__(self, graph: WatchedGraph) -> None:
        self._graph = graph
        self._stages = Stages(graph.stages)
        self._open: dict[str, int] = {}
        """Depth of the outermost run, by namespace."""

    def stage(self, event: Any) -> StageStarted | StageCompleted | None:
        metadata = event["metadata"]
        node = metadata.get("langgraph_node")
        if node is None or event["name"] != node:
            return None
        namespace, depth = metadata["langgraph_checkpoint_ns"], len(event["parent_ids"])
        path = path_of(namespace)
        if event["event"] == "on_chain_start" and namespace not in self._open:
            self._open[namespace] = depth
            if self._graph.declared(path, metadata).stage:
                return self._stages.started(path)
        elif event["event"] == "on_chain_end" and self._open.get(namespace) == depth:
            del self._open[namespace]
            return self._stages.ended(path)
        return None
