"""A node as Sluice runs it: its model calls find the run, its writer names the node.

A raw SDK call is seen by nobody, and what LangGraph says of a call is not whose work it is. So
every node's runnable is wrapped: while it runs, `current_node` is set, its `stream_writer` is
ours, and the messages that a speaking node adds are remembered.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.errors import GraphInterrupt, ParentCommand
from langgraph.pregel import Pregel

from sluice.application.heard_calls import HeardText, SpokenCall, muted
from sluice.application.model_calls import CallTeller, Emit, NodeRun, current_node
from sluice.domain.errors import PipelineError
from sluice.domain.events import Beside, Reasoning, StageCompleted, StageFailed
from sluice.infrastructure.pipeline.namespaces import (
    NODE,
    is_hidden,
    is_inside,
    namespace_of,
    path_of,
)
from sluice.infrastructure.pipeline.run import GraphRun
from sluice.infrastructure.pipeline.visibility import SILENT, Declared, Word
from sluice.infrastructure.pipeline.written_data import written_data

RUNTIME, STREAM = "__pregel_runtime", "__pregel_stream"
"""Where LangGraph keeps a run's writer, and the stream that its subgraphs go on to."""


@dataclass(frozen=True, slots=True)
class WrittenToken:
    """A token that a node wrote, on its way through LangGraph's stream."""

    namespace: str
    text: str


@dataclass(frozen=True, slots=True)
class WrittenEvent:
    """Likewise any other event."""

    namespace: str
    event: Beside
    queue: str


class RunningNode(NodeRun):
    """What a call finds through its context. Without a namespace: it is in no node.

    `declared`: what is heard of all that the node runs; nothing of a subgraph, whose nodes speak
    for themselves. `stream` takes what LangGraph's stream shall carry, if that is read.
    """

    def __init__(
        self,
        run: GraphRun,
        namespace: str = "",
        *,
        declared: Declared = SILENT,
        stream: Callable[[Any], None] | None = None,
    ) -> None:
        super().__init__(run.calls, path_of(namespace), speaks=declared.speaks)
        self.run, self.namespace, self._stream = run, namespace, stream
        self._declared = declared
        self._heard = HeardText()

    @property
    def speaks(self) -> bool:
        return not muted.get() and self.heard_at(self.here())

    def here(self) -> str:
        """Where the code stands that asks: in this node, or in a graph that it runs by itself."""
        config = var_child_runnable_config.get()
        return self.within(namespace_of(config.get("metadata") or {})) if config else self.namespace

    def within(self, namespace: str) -> str:
        return namespace if is_inside(namespace, self.namespace) else self.namespace

    def heard_at(self, namespace: str, word: Word = "speaks") -> bool:
        return self.run.visibility.hears(
            word, self.path, by_itself=self._declared, path=path_of(namespace)
        )

    def write(self, chunk: Any) -> None:
        """Takes what users' code gives to the stream writer: a token, or data, in a mapping.

        Raises as `give` does.
        """
        if not isinstance(chunk, Mapping):
            return
        text = chunk.get("token")
        if isinstance(text, str) and (text := self._heard.to_tell(text)):
            self.say(text)
        if "data" in chunk:
            self.give(chunk.get("name"), chunk["data"], self.here())

    def say(self, text: str) -> None:
        """Tells the user what the code that asks has said, if it is heard where it stands."""
        namespace = self.here()
        if self._speaks or self.heard_at(namespace):
            self._tell(namespace, path_of(namespace), text)

    def hear(self) -> CallTeller | None:
        namespace = self.here()
        if muted.get() or self.run.reader == "events" or not self.heard_at(namespace):
            return None
        return SpokenCall(self.calls, self.teller(namespace))

    def note(self) -> Emit:
        """Takes the text of a call that somebody else tells: what is written of it is not told."""
        return self._heard.begin()

    def teller(self, namespace: str) -> Emit:
        """Takes the text of one call to the user, and notes it."""
        path, note = path_of(namespace), self.note()

        def tell(text: str) -> None:
            note(text)
            self._tell(namespace, path, text)

        return tell

    def listens(self, handlers: Sequence[object]) -> bool:
        return any(handler is self.run.listener for handler in handlers)

    def take(self, run_id: UUID, handlers: Sequence[object]) -> CallTeller | None:
        listener = self.run.listener
        return None if listener is None else listener.take(run_id, handlers)

    def _tell(self, namespace: str, path: str, text: str) -> None:
        if self.run.reader == "tap":
            self.run.token(namespace, path, text)
        elif self._stream is not None:
            self._stream(((), "messages", WrittenToken(namespace, text)))

    def give(self, name: object, data: object, namespace: str) -> None:
        """Shows the user what a node has written as data, if it is heard there.

        Raises PipelineError, which is also the run's, for what is no JSON or too large.
        """
        if not self.heard_at(namespace, "data"):
            return
        try:
            event = written_data(name, data, path_of(namespace))
        except PipelineError as error:
            raise self.run.fails(error) from error.__cause__
        self.show(namespace, event)

    def reasoning(self, text: str) -> None:
        namespace = self.here()
        if text and self.run.reader != "events" and self.heard_at(namespace, "reasoning"):
            self.show(namespace, Reasoning(text, path_of(namespace)))

    def show(self, namespace: str, event: Beside, queue: str | None = None) -> None:
        """Tells what is heard there beside the answer, in order with the tokens of `queue`."""
        queue = namespace if queue is None else queue
        if self.run.reader == "messages" and self._stream is not None:
            self._stream(((), "messages", WrittenEvent(namespace, event, queue)))
        else:
            self.run.show(namespace, event, queue)

    def emitter(self) -> Emit | None:
        """Past LangChain, if nothing but this run would have heard the call there."""
        config = var_child_runnable_config.get() or {}
        manager = config.get("callbacks")
        if (
            self._speaks
            and self.run.reader == "tap"
            and namespace_of(config.get("metadata") or {}) == self.namespace
            and isinstance(manager, BaseCallbackManager)
            and len(manager.handlers) == self.run.listeners
            and "nostream" not in manager.tags
            and not muted.get()
        ):
            return partial(self.run.token, self.namespace, self.path)
        return None


def located(run: GraphRun, metadata: Mapping[str, Any]) -> tuple[str, RunningNode | None]:
    """The namespace of what starts, and whose work it is; of a conditional edge, nobody's.

    A thread of the node's own may have no context: then its config tells.
    """
    namespace = namespace_of(metadata)
    node = current_node.get() or run.node_at(namespace)
    if not isinstance(node, RunningNode) or not node.namespace:
        return namespace, None
    return node.within(namespace), node


def write_where_it_runs(chunk: Any) -> None:
    """The writer of what has no node's config: an `@task` has its graph's."""
    node = current_node.get()
    if isinstance(node, RunningNode):
        node.write(chunk)


class WatchedNode(Runnable[Any, Any]):
    def __init__(self, bound: Runnable[Any, Any]) -> None:
        self._bound, self._is_graph = bound, isinstance(bound, Pregel)
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
        if run.visibility.answers(node.path, is_graph=self._is_graph):
            run.answer.add(output, input, inside="/" in node.path)
        if self._tools:
            run.answer.add_direct(output, self._tools)
        return output

    def _started(self, run: GraphRun, config: RunnableConfig) -> tuple[RunningNode, RunnableConfig]:
        """The node run, and its config with a writer that knows it."""
        metadata, configurable = config.get("metadata") or {}, config.get("configurable", {})
        namespace = namespace_of(metadata)
        node = RunningNode(
            run,
            namespace,
            declared=SILENT if self._is_graph else run.visibility.declared(path_of(namespace)),
            stream=configurable.get(STREAM),
        )
        run.node_started(node)
        if is_hidden(namespace):
            run.node_left(namespace.rpartition("|")[0], StageFailed)
        ours = {RUNTIME: replace(configurable[RUNTIME], stream_writer=node.write)}
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
