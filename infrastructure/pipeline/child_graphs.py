"""Follows the graphs that a node runs by itself into their own roots.

Since LangGraph 1.2.6 a graph that is run with a `thread_id` of its own, or another coordinate of
a checkpoint, is a new root: it inherits neither its caller's namespace nor its stream writer. So
`Pregel.stream` and `Pregel.astream` are given a config which says inside which node run the new
root runs, and whose writer and stage events are the caller's. Outside of a job nothing changes.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.pregel import Pregel
from langgraph.pregel.protocol import StreamProtocol
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore

from sluice.application.model_calls import current_node
from sluice.infrastructure.pipeline.calls import CallListener
from sluice.infrastructure.pipeline.namespaces import ROOT, namespace_of
from sluice.infrastructure.pipeline.running_node import (
    RUNTIME,
    STREAM,
    RunningNode,
    write_where_it_runs,
)

_COORDINATES = ("thread_id", "checkpoint_ns", "checkpoint_id", "checkpoint_map")
_TASK = "__pregel_task_id"
_FOLLOWED = "sluice_follows"
_UNREAD = StreamProtocol(lambda _: None, set())


def follow() -> None:
    """Once for all: whoever asks again finds it done."""
    for name in ("stream", "astream"):
        if not hasattr(getattr(Pregel, name), _FOLLOWED):
            setattr(Pregel, name, _following(getattr(Pregel, name)))


def heard_by_context(store: BaseStore | None) -> dict[str, Any]:
    """The `configurable` of a run whose graphs inherit one writer, which asks the context.

    `store` is the graph's own: one that inherits a runtime asks for no other.
    """
    return {RUNTIME: Runtime(stream_writer=write_where_it_runs, store=store), STREAM: _UNREAD}


def _following(stream: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(stream)
    def followed(
        self: Pregel[Any, Any, Any, Any],
        input: Any,
        config: RunnableConfig | None = None,
        **options: Any,
    ) -> Any:
        node, ambient = current_node.get(), var_child_runnable_config.get()
        if node is None and config:
            node, ambient = _told_by(config), config
        if isinstance(node, RunningNode):
            node.run.answer.know_direct(_tools_of(self))
            if ambient and _is_root(self.config, config):
                config = _inside(node, ambient, config or RunnableConfig(), self.store)
        return stream(self, input, config, **options)

    setattr(followed, _FOLLOWED, True)
    return followed


def _told_by(config: RunnableConfig) -> RunningNode | None:
    """In a thread without context: the node run that its config came from."""
    callbacks = config.get("callbacks") or ()
    handlers = callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks
    runs = (handler.run for handler in handlers if isinstance(handler, CallListener))
    run = next(runs, None)
    node = run and run.node_at(namespace_of(config.get("metadata") or {}))
    return node if isinstance(node, RunningNode) else None


def _tools_of(graph: Pregel[Any, Any, Any, Any]) -> Iterator[Any]:
    for node in graph.nodes.values():
        yield from (getattr(node.bound, "tools_by_name", None) or {}).values()


def _is_root(*configs: Mapping[str, Any] | None) -> bool:
    given = [(config or {}).get("configurable") or {} for config in configs]
    return any(each.get(key) for each in given for key in _COORDINATES) and not any(
        _TASK in each for each in given
    )


def _inside(
    node: RunningNode,
    ambient: RunnableConfig,
    config: RunnableConfig,
    store: BaseStore | None,
) -> RunnableConfig:
    above = namespace_of(ambient.get("metadata") or {})
    if node.namespace:
        above = node.within(above)
    # A leading zero keeps our numbers apart from those that LangGraph gives to a task's graphs.
    root = f"{above}|0{next(node.run.child_roots)}"
    inherited = ambient.get("configurable") or {}
    runtime = inherited.get(RUNTIME)
    write = runtime.stream_writer if isinstance(runtime, Runtime) else node.write
    ours: dict[str, Any] = {RUNTIME: Runtime(stream_writer=write, store=store)}
    stream: Any = inherited.get(STREAM) or node.stream
    if stream is not None:
        ours[STREAM] = StreamProtocol(stream, stream.modes & {"tasks"})
    return {
        **config,
        "configurable": {**ours, **(config.get("configurable") or {})},
        "metadata": {**(config.get("metadata") or {}), ROOT: root},
    }
