"""A node as Sluice runs it: its model calls find the run, its writer names the node.

LangGraph's `custom` stream does not say which node wrote, and a raw SDK call is seen by nobody.
So every node's runnable is wrapped: while it runs, `current_node` is set, its `stream_writer` is
ours, and the messages that a speaking node adds are remembered.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol
from uuid import UUID, uuid4

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.messages import AIMessage, convert_to_messages
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.errors import GraphInterrupt, ParentCommand
from langgraph.types import Command

from sluice.application.heard_calls import HeardText, SpokenCall
from sluice.application.model_calls import CallTeller, ModelCalls, NodeRun, Say, current_node
from sluice.domain.errors import PipelineError
from sluice.domain.events import StageCompleted, StageFailed

_RUNTIME = "__pregel_runtime"


class _Declared(Protocol):
    @property
    def speaks(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Written:
    """A token that a node wrote with `get_stream_writer()`, and the node run it came from."""

    namespace: str
    path: str
    text: str


TellToken = Callable[[str, str, str], None]
"""Takes a token at once: the namespace of its node run, the node's path, the text."""


Take = Callable[[UUID, Sequence[object]], CallTeller | None]
"""As `NodeRun.take`."""


@dataclass(slots=True, eq=False)
class GraphRun:
    """One run of the graph. Without `tell`, written tokens go the way of LangGraph's stream.
    `listener` is the callback handler that LangChain reports to.

    `failed` and `left` name node runs by their namespaces: those of which an error came, unless
    they were tried again since, and those whose end LangGraph does not report, by how they
    ended: they handed over to a node of the graph above, or an error handler goes on for them.
    It `waits` if a node has asked a human.
    """

    calls: ModelCalls
    given: frozenset[str]
    tell: TellToken | None = None
    take: Take = lambda *_: None
    listener: object = None
    added: dict[str, AIMessage] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    left: dict[str, type[StageCompleted | StageFailed]] = field(default_factory=dict)
    waits: bool = False

    def remember(self, output: object) -> None:
        """Keeps the AI messages in a speaking node's output that the run was not given."""
        for message in _ai_messages(output):
            if message.id is None:
                message.id = str(uuid4())
            if message.id not in self.given:
                self.added[message.id] = message


current_run: ContextVar[GraphRun | None] = ContextVar("current_run", default=None)


class WatchedNode(Runnable[Any, Any]):
    """`declared` tells of a node by its path and its run's metadata."""

    def __init__(
        self,
        bound: Runnable[Any, Any],
        declared: Callable[[str, Mapping[str, Any]], _Declared],
    ) -> None:
        self._bound, self._declared = bound, declared

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        raise TypeError("a watched graph runs asynchronously only")

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        run = current_run.get()
        if run is None or config is None:
            return await self._bound.ainvoke(input, config, **kwargs)
        metadata = config.get("metadata") or {}
        namespace = str(metadata.get("langgraph_checkpoint_ns", ""))
        path = path_of(namespace)
        speaks = self._declared(path, metadata).speaks
        say = _say(run, config, namespace, path) if speaks else None
        heard = HeardText()
        config = _with_writer(config, say, heard)
        node_run = _node_run(run, namespace, path, say, heard)
        node = current_node.set(node_run)
        child = var_child_runnable_config.set(config)
        run.failed.discard(namespace)
        if is_hidden(namespace):
            run.left[namespace.rpartition("|")[0]] = StageFailed
        task = asyncio.current_task()
        try:
            output = await self._bound.ainvoke(input, config, **kwargs)
        except ParentCommand:
            run.left[namespace] = StageCompleted
            raise
        except GraphInterrupt:
            run.failed.add(namespace)
            run.waits = True
            raise
        except BaseException as error:
            run.failed.add(namespace)
            if isinstance(error, asyncio.CancelledError):
                node_run.open.stop()
            if isinstance(error, Exception | asyncio.CancelledError) or _closed(task):
                raise
            # SystemExit would end the process, and with it everybody's jobs; GeneratorExit
            # would be taken for a generator's end.
            raise PipelineError("a node raised what is no error") from error
        finally:
            var_child_runnable_config.reset(child)
            current_node.reset(node)
        if speaks:
            run.remember(output)
        return output


def _closed(task: asyncio.Task[Any] | None) -> bool:
    """Whether the node did not raise by itself, but was thrown away by another."""
    try:
        return asyncio.current_task() is not task
    except RuntimeError:  # there is no loop any more
        return True


def path_of(namespace: str) -> str:
    """`outer:task-id|inner:task-id` as `outer/inner`.

    A subgraph that its task runs once more is `outer:task-id|1|inner:task-id`: the same nodes.
    One that has a memory of its own is `outer|inner:task-id`. A node's error handler is
    `node:task-id|__error_handler__node:task-id`, and does the node's work.
    """
    parts = [part.split(":", 1)[0] for part in namespace.split("|") if not part.isdigit()]
    return "/".join(part for part in parts if not part.startswith("__"))


def is_hidden(namespace: str) -> bool:
    """A node that LangGraph has made: nobody knows its name."""
    return namespace.rpartition("|")[2].startswith("__")


def is_inside(namespace: str, outer: str) -> bool:
    """In a subgraph that the node run `outer` is running, with a memory or without."""
    return namespace.startswith((f"{outer}|", f"{outer.rpartition(':')[0]}|"))


def _say(run: GraphRun, config: RunnableConfig, namespace: str, path: str) -> Say:
    if run.tell is not None:
        return partial(run.tell, namespace, path)
    stream = config["configurable"][_RUNTIME].stream_writer
    return lambda text: stream(Written(namespace, path, text))


def _node_run(
    run: GraphRun, namespace: str, path: str, say: Say | None, heard: HeardText
) -> NodeRun:
    def voice() -> Say | None:
        """Past LangChain, if nothing but this run would have heard the call there."""
        config = var_child_runnable_config.get() or {}
        manager = config.get("callbacks")
        if (
            config.get("metadata", {}).get("langgraph_checkpoint_ns") == namespace
            and isinstance(manager, BaseCallbackManager)
            and len(manager.handlers) == 1
            and "nostream" not in manager.tags
        ):
            return say
        return None

    def hear() -> CallTeller | None:
        if say is None:
            return None
        note = heard.begin()

        def tell(text: str) -> None:
            note(text)
            say(text)

        return SpokenCall(run.calls, tell)

    def listens(handlers: Sequence[object]) -> bool:
        return any(handler is run.listener for handler in handlers)

    node = NodeRun(run.calls, path, say is not None, hear=hear, listens=listens, take=run.take)
    return node if run.tell is None or say is None else replace(node, voice=voice)


def _with_writer(config: RunnableConfig, say: Say | None, heard: HeardText) -> RunnableConfig:
    """The config with a writer that says the tokens written, or nothing in a silent node."""

    def write(chunk: Any) -> None:
        text = chunk.get("token") if isinstance(chunk, Mapping) else None
        if say is not None and isinstance(text, str) and (text := heard.to_tell(text)):
            say(text)

    configurable = config.get("configurable", {})
    ours = {_RUNTIME: replace(configurable[_RUNTIME], stream_writer=write)}
    return {**config, "configurable": {**configurable, **ours}}


def _ai_messages(output: object) -> Iterable[AIMessage]:
    outputs = output if isinstance(output, list | tuple) else [output]
    for one in outputs:
        update = one.update if isinstance(one, Command) else one
        if isinstance(update, Mapping):
            messages = update.get("messages")
        else:  # a state of the graph's own class, or messages as they are
            messages = getattr(update, "messages", update)
        if messages is None:
            continue
        if not isinstance(messages, list):
            messages = [messages]
        for message in messages:
            if isinstance(message, AIMessage):
                yield message
            elif isinstance(message, Mapping) and "role" in message:
                converted = convert_to_messages([dict(message)])
                yield from (one for one in converted if isinstance(one, AIMessage))
