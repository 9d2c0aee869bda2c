"""A node and the writing of what it gives, without LangChain's telling of it to nobody.

LangGraph runs both as a sequence that is a run of its own: with a callback manager, events, and a
task that shields them. Where the tap alone listens it is told directly, by the same methods and
in the same order, and an answer costs a tenth less. Whoever else listens, as LangSmith does, and
every other reader has LangGraph's sequence.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

from langchain_core.callbacks import AsyncCallbackManager, BaseCallbackManager
from langchain_core.runnables import Runnable, RunnableConfig

from sluice.application.model_calls import current_node
from sluice.infrastructure.pipeline.nodes import WatchedNode
from sluice.infrastructure.pipeline.running_node import RunningNode
from sluice.infrastructure.pipeline.tap import Tap

_STEP = "langgraph_step"


class NodeSequence(Runnable[Any, Any]):
    """Takes the place of `sequence`, whose steps are `first` and `writers`."""

    def __init__(
        self,
        sequence: Runnable[Any, Any],
        first: WatchedNode,
        writers: list[Runnable[Any, Any]],
        *,
        late: bool = False,
    ) -> None:
        self._sequence, self._first, self._writers = sequence, first, writers
        self._late = late

    def one_step_later(self) -> "NodeSequence":
        """For a run that has left out its first step: nodes are told of the step it would be."""
        return NodeSequence(self._sequence, self._first, self._writers, late=True)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:
        raise TypeError("a watched graph runs asynchronously only")

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:
        if self._late and config is not None:
            config = _one_step_later(config)
        manager: Any = (config or {}).get("callbacks")
        tap = _only_listener(manager)
        if config is None or tap is None:
            return await self._sequence.ainvoke(input, config)
        run_id = uuid4()
        inner = _inner(config, manager, run_id)
        _tell_start(tap, input, config, run_id)
        try:
            # In a task: what a node sets in its context is its own.
            output = await asyncio.create_task(self._first.ainvoke(input, inner))
            for writer in self._writers:
                output = await writer.ainvoke(output, inner)
        except BaseException as error:
            tap.on_chain_error(error, run_id=run_id)
            raise
        tap.on_chain_end(output, run_id=run_id)
        return output

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, **_: Any
    ) -> AsyncIterator[Any]:
        if self._late and config is not None:
            config = _one_step_later(config)
        async for chunk in self._sequence.astream(input, config):
            yield chunk


def _one_step_later(config: RunnableConfig) -> RunnableConfig:
    metadata = config.get("metadata") or {}
    step = {_STEP: metadata[_STEP] + 1} if _STEP in metadata else {}
    return {**config, "metadata": {**metadata, **step}}


def _tell_start(tap: Tap, input: Any, config: RunnableConfig, run_id: UUID) -> None:
    manager: Any = config["callbacks"]
    metadata = {**manager.metadata, **(config.get("metadata") or {})}
    name = config.get("run_name")
    tap.on_chain_start(None, input, run_id=run_id, metadata=metadata, name=name)


def shorten(node: Any) -> None:
    """Gives a graph's node the shorter sequence, if it is one of those that we know."""
    sequence = getattr(node, "node", None)
    steps = getattr(sequence, "steps", None)
    if not (isinstance(sequence, Runnable) and isinstance(steps, list) and steps):
        return
    first, *writers = steps
    if isinstance(first, WatchedNode) and not first.is_graph:
        node.node = NodeSequence(sequence, first, writers)


def _inner(config: RunnableConfig, manager: BaseCallbackManager, run_id: UUID) -> RunnableConfig:
    """What the node's own runs inherit, as from a run in which they are."""
    tags = list(dict.fromkeys((*manager.inheritable_tags, *(config.get("tags") or ()))))
    metadata = {**manager.inheritable_metadata, **(config.get("metadata") or {})}
    child = AsyncCallbackManager(
        [*manager.inheritable_handlers],
        [*manager.inheritable_handlers],
        run_id,
        tags=tags,
        inheritable_tags=[*tags],
        metadata=metadata,
        inheritable_metadata={**metadata},
    )
    inner: RunnableConfig = {**config, "callbacks": child}
    inner.pop("run_name", None)
    return inner


def _only_listener(manager: Any) -> Tap | None:
    """The tap of the run that is being read, if nobody else hears it."""
    node = current_node.get()
    if not isinstance(manager, BaseCallbackManager) or not isinstance(node, RunningNode):
        return None
    tap, run = node.run.listener, node.run
    alone = run.thoughts is None and run.hears_alone(manager.handlers)
    return tap if isinstance(tap, Tap) and alone else None
