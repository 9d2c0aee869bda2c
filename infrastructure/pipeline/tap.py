"""What happens in a graph, told where it happens: one callback handler, one hand-over.

LangGraph's `messages` stream costs each token a thread-safe call, a task and a wait. A handler
that is called in line costs a function call. It has the two methods by which langchain-core
knows that somebody wants tokens, so that a model that is merely invoked streams too; who asks
for them is private, so `TAPPABLE` says whether it still does.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import partial
from threading import get_ident
from typing import Any
from uuid import UUID

from langchain_core.language_models import chat_models
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langgraph.errors import ParentCommand

from sluice.application.heard_calls import CountedCall, SpokenCall
from sluice.application.model_calls import CallTeller
from sluice.application.ports import Tell
from sluice.domain.events import Event, Token
from sluice.infrastructure.pipeline.calls import SPOKEN, CallListener
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.nodes import GraphRun, path_of
from sluice.infrastructure.pipeline.stages import Stages
from sluice.infrastructure.pipeline.turns import Turns


class Tap(CallListener):
    """Tells of stages and spoken tokens, in the order in which they happen.

    A stage is the outermost run of a task's namespace that carries its node's name: a
    subgraph's own run and a RetryPolicy's tries have the same namespace.
    """

    def __init__(self, graph: WatchedGraph, run: GraphRun, tell: Tell, turns: Turns) -> None:
        super().__init__(run.calls, graph.declared)
        self._run, self._tell, self._turns = run, tell, turns
        self._stages = Stages(graph.stages, run, turns)
        self._loop, self._thread = asyncio.get_running_loop(), get_ident()
        self._speakers: dict[UUID, tuple[str, str]] = {}
        self._open: dict[str, UUID] = {}
        """The outermost run by namespace; a failed try's stays until the next one takes over."""
        self._failed: set[UUID] = set()

    def tell(self, namespace: str, path: str, text: str) -> None:
        """From any thread: synchronous nodes run in others."""
        if get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self.tell, namespace, path, text)
            return
        token = Token(text, path)
        if self._turns.say(namespace, token):
            self._tell(token)

    def take(self, run_id: UUID, handlers: Sequence[object]) -> CallTeller | None:
        """A run that nobody else listens to is told by its client, below LangChain."""
        if len(handlers) != 1 or handlers[0] is not self:
            return None
        speaker = self._speakers.pop(run_id, None)
        return SpokenCall(None, partial(self.tell, *speaker)) if speaker else CountedCall(None)

    def finish(self) -> None:
        """The graph is over."""
        self._tell_all(self._stages.left())

    def on_chat_model_start(
        self, *given: Any, run_id: UUID, metadata: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().on_chat_model_start(*given, run_id=run_id, metadata=metadata, **kwargs)
        if metadata and SPOKEN in metadata:
            namespace = metadata["langgraph_checkpoint_ns"]
            self._speakers[run_id] = (namespace, metadata[SPOKEN])

    def on_llm_new_token(
        self, token: Any, *, chunk: object = None, run_id: UUID, **kwargs: Any
    ) -> None:
        speaker = self._speakers.get(run_id)
        if speaker is None or not isinstance(chunk, ChatGenerationChunk):
            return
        message = chunk.message
        if isinstance(message, AIMessageChunk):
            content = message.content
            if text := content if isinstance(content, str) else str(message.text):
                self.tell(*speaker, text)

    def on_llm_end(self, *given: Any, run_id: UUID, **kwargs: Any) -> None:
        self._speakers.pop(run_id, None)
        super().on_llm_end(*given, run_id=run_id, **kwargs)

    def on_llm_error(self, *given: Any, run_id: UUID, **kwargs: Any) -> None:
        self._speakers.pop(run_id, None)
        super().on_llm_error(*given, run_id=run_id, **kwargs)

    def on_chain_start(
        self,
        *given: Any,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if metadata is not None and name is not None and name == metadata.get("langgraph_node"):
            self._here(self._started, run_id, metadata)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._here(self._ended, run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        over = self._ended if isinstance(error, ParentCommand) else self._erred
        self._here(over, run_id)

    def _here(self, learn: Callable[..., None], *given: Any) -> None:
        """On the loop's thread: a graph that a synchronous node invokes runs in another."""
        if get_ident() == self._thread:
            learn(*given)
        else:
            self._loop.call_soon_threadsafe(learn, *given)

    def _started(self, run_id: UUID, metadata: dict[str, Any]) -> None:
        namespace = metadata["langgraph_checkpoint_ns"]
        outermost = self._open.get(namespace)
        if outermost is not None:
            if outermost in self._failed:
                self._failed.discard(outermost)
                self._open[namespace] = run_id
            return
        self._open[namespace] = run_id
        shown = self._declared(path_of(namespace), metadata).stage
        self._tell_all(self._stages.started(namespace, shown=shown))

    def _ended(self, run_id: UUID) -> None:
        self._tell_all(self._stages.left())
        if (namespace := self._namespace(run_id)) is not None:
            del self._open[namespace]
            self._tell_all(self._stages.ended(namespace))

    def _erred(self, run_id: UUID) -> None:
        if (namespace := self._namespace(run_id)) is not None:
            self._failed.add(run_id)
            self._run.failed.add(namespace)

    def _tell_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self._tell(event)

    def _namespace(self, run_id: UUID) -> str | None:
        return next((ns for ns, outermost in self._open.items() if outermost == run_id), None)

    # Not inherited from langchain-core's protocol: of who is, LangGraph thinks that it wants every
    # node's output in pieces, and runs the node in one more task and through three generators.
    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        return output

    def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
        return output


_asked = getattr(chat_models, "_StreamingCallbackHandler", None)
TAPPABLE = isinstance(_asked, type) and issubclass(Tap, _asked)
