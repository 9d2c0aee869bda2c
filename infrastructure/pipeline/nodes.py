"""A node as Sluice runs it: its model calls find the run, its writer names the node.

A raw SDK call is seen by nobody, and what LangGraph says of a call is not whose work it is. So
every node's runnable is wrapped: while it runs, `current_node` is set, its `stream_writer` is
ours, and the messages that a speaking node adds are remembered.
"""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.errors import GraphInterrupt, ParentCommand
from langgraph.pregel import Pregel
from langgraph.runtime import Runtime

from sluice.application.model_calls import current_node
from sluice.domain.errors import PipelineError
from sluice.domain.events import StageCompleted, StageFailed
from sluice.infrastructure.pipeline.namespaces import (
    NODE,
    is_hidden,
    namespace_of,
    path_of,
)
from sluice.infrastructure.pipeline.node_span import node_span
from sluice.infrastructure.pipeline.run import GraphRun
from sluice.infrastructure.pipeline.running_node import RUNTIME, STREAM, RunningNode
from sluice.infrastructure.pipeline.visibility import SILENT

_UNTIMED = getattr(Runtime(), "heartbeat", None)
"""The heartbeat of a node whose silence nobody bounds; older LangGraphs have none."""


class WatchedNode(Runnable[Any, Any]):
    def __init__(self, bound: Runnable[Any, Any]) -> None:
        self._bound, self.is_graph = bound, isinstance(bound, Pregel)
        self._tools = getattr(bound, "tools_by_name", None)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        raise TypeError("a watched graph runs asynchronously only")

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        outer = current_node.get()
        if not isinstance(outer, RunningNode) or config is None:
            return await self._bound.ainvoke(input, config, **kwargs)
        run = outer.run
        node, config = self._started(run, config)
        task = asyncio.current_task()
        context = current_node.set(node)
        child = var_child_runnable_config.set(config)
        try:
            with node_span(node.path):
                output = await self._bound.ainvoke(input, config, **kwargs)
        except ParentCommand:
            run.node_left(node.namespace, StageCompleted)
            raise
        except GraphInterrupt:
            run.node_failed(node.namespace)
            run.waits = True
            raise
        except BaseException as error:
            run.node_failed(node.namespace)
            if isinstance(error, asyncio.CancelledError):
                node.open.stop()
            if isinstance(error, Exception | asyncio.CancelledError) or _closed(task):
                raise
            # SystemExit would end the process, and with it everybody's jobs; GeneratorExit
            # would be taken for a generator's end.
            raise PipelineError("a node raised what is no error") from error
        finally:
            var_child_runnable_config.reset(child)
            current_node.reset(context)
        inside = "/" in node.path
        if run.visibility.answers(node.path, is_graph=self.is_graph):
            run.answer.add(output, input, inside=inside)
        else:
            run.answer.replace(output, inside=inside)
        if self._tools:
            run.answer.add_direct(output, self._tools)
        return output

    def _started(self, run: GraphRun, config: RunnableConfig) -> tuple[RunningNode, RunnableConfig]:
        """The node run, and its config with a writer that knows it.

        Where LangGraph bounds a node's silence, its own writer counts what it is given as progress.
        """
        metadata, configurable = config.get("metadata") or {}, config["configurable"]
        namespace, runtime = namespace_of(metadata), configurable[RUNTIME]
        timed = getattr(runtime, "heartbeat", None) is not _UNTIMED
        node = RunningNode(
            run,
            namespace,
            declared=SILENT if self.is_graph else run.visibility.declared(path_of(namespace)),
            stream=configurable.get(STREAM),
            progress=partial(runtime.stream_writer, None) if timed else None,
        )
        run.node_started(node)
        if is_hidden(namespace):
            run.node_left(namespace.rpartition("|")[0], StageFailed)
        ours = {RUNTIME: replace(runtime, stream_writer=node.write)}
        return node, {
            **config,
            "configurable": {**configurable, **ours},
            "metadata": {**metadata, NODE: namespace},
        }


def _closed(task: asyncio.Task[Any] | None) -> bool:
    """Whether the node did not raise by itself, but was thrown away by another."""
    try:
        return asyncio.current_task() is not task
    except RuntimeError:  # there is no loop any more
        return True
