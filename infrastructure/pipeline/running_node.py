"""What a call finds through its context: the node run whose work it is, and who hears it.

The rule is in `visibility`; here it is asked, for text, reasoning and data alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables.config import var_child_runnable_config

from sluice.application.heard_calls import CountedCall, HeardCall, HeardText, muted
from sluice.application.model_calls import CallTeller, Emit, NodeRun, current_node
from sluice.domain.errors import PipelineError
from sluice.domain.events import Beside, Reasoning
from sluice.infrastructure.pipeline.namespaces import (
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
        progress: Callable[[], None] | None = None,
    ) -> None:
        speaks = declared.speaks
        super().__init__(run.calls, path_of(namespace), speaks=speaks, progress=progress)
        self.run, self.namespace, self.stream = run, namespace, stream
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
        if self.progress is not None:
            self.progress()
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
        if muted.get() or self.run.reader == "events":
            return None
        say = self.teller(namespace) if self.heard_at(namespace) else None
        think = self._thinker(namespace) if self.heard_at(namespace, "reasoning") else None
        return HeardCall(self.calls, say, think) if say or think else None

    def note(self) -> Emit:
        """Takes the text of a call that somebody else tells: what is written of it is not told."""
        return self._heard.begin()

    def teller(self, namespace: str) -> Emit:
        """Takes the text of one call to the user, and notes it."""
        path, note = path_of(namespace), self.note()
        if self.run.reader == "tap":  # as `_tell` does, for each token
            token = self.run.token

            def tell_tap(text: str) -> None:
                note(text)
                token(namespace, path, text)

            return tell_tap

        def tell(text: str) -> None:
            note(text)
            self._tell(namespace, path, text)

        return tell

    def reteller(self, namespace: str) -> Emit:
        """As `teller`, of a call that may hand on what another has told: that is told once."""
        path, note = path_of(namespace), self.note()

        def tell(text: str) -> None:
            if new := self._heard.to_tell(text):
                self._tell(namespace, path, new)
            note(text)

        return tell

    def reported(self, run_id: UUID, handlers: Sequence[object]) -> CallTeller | None:
        listener = self.run.listener
        if listener is None or not any(handler is listener for handler in handlers):
            return None
        think, end = self.run.thinker(run_id), listener.end_of(run_id)
        return HeardCall(None, None, think, end=end) if think else CountedCall(None, end=end)

    def take(self, run_id: UUID, handlers: Sequence[object]) -> CallTeller | None:
        listener = self.run.listener
        return None if listener is None else listener.take(run_id, handlers)

    def _tell(self, namespace: str, path: str, text: str) -> None:
        if self.run.reader == "tap":
            self.run.token(namespace, path, text)
        elif self.stream is not None:
            self.stream(((), "messages", WrittenToken(namespace, text)))

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
            self._thinker(namespace)(text)

    def _thinker(self, namespace: str) -> Emit:
        path = path_of(namespace)
        return lambda text: self.show(namespace, Reasoning(text, path))

    def show(self, namespace: str, event: Beside, queue: str | None = None) -> None:
        """Tells what is heard there beside the answer, in order with the tokens of `queue`."""
        queue = namespace if queue is None else queue
        if self.run.reader == "messages" and self.stream is not None:
            self.stream(((), "messages", WrittenEvent(namespace, event, queue)))
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
            and self.run.hears_alone(manager.handlers)
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
    """The writer of what has no node's config: an `@task` has its graph's. None is a sign of life,
    and nothing to tell.
    """
    node = current_node.get()
    if isinstance(node, RunningNode) and chunk is not None:
        node.write(chunk)
