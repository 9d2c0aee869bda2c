"""What happens in a graph, told where it happens: one callback handler, one hand-over.

LangGraph's `messages` stream costs each token a thread-safe call, a task and a wait. A handler
that is called in line costs a function call. It has the two methods by which langchain-core
knows that somebody wants tokens, so that a model that is merely invoked streams too; who asks
for them is private, so `TAPPABLE` says whether it still does.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from uuid import UUID

from langchain_core.language_models import chat_models
from langgraph.errors import ParentCommand

from sluice.application.heard_calls import CountedCall, HeardCall
from sluice.application.model_calls import CallTeller, Emit
from sluice.infrastructure.pipeline.calls import CallListener
from sluice.infrastructure.pipeline.namespaces import namespace_of
from sluice.infrastructure.pipeline.run import GraphRun
from sluice.infrastructure.pipeline.running_node import RunningNode


class Tap(CallListener):
    """Tells the run of stages and spoken tokens, in the order in which they happen.

    A stage is the outermost run of a task's namespace that carries its node's name: a
    subgraph's own run and a RetryPolicy's tries have the same namespace.
    """

    def __init__(self, run: GraphRun) -> None:
        super().__init__(run)
        self._open: dict[str, UUID] = {}
        """The outermost run by namespace; a failed try's stays until the next one takes over."""
        self._failed: dict[UUID, None] = {}

    def take(self, run_id: UUID, handlers: Sequence[object]) -> CallTeller | None:
        """A run that nobody else listens to is told by its client, below LangChain."""
        if not self._run.hears_alone(handlers):
            return None
        tell, think = self._spoken.get(run_id), self._run.thinker(run_id)
        if tell is not None:
            self._spoken[run_id] = _told_below
        if not (tell or think):
            return CountedCall(None)
        return HeardCall(None, tell, think, end=self.end_of(run_id))

    def _taker(self, node: RunningNode, namespace: str) -> Emit:
        return node.teller(namespace)

    def _hand_on(self, outer: UUID, node: RunningNode, namespace: str) -> None:
        self._spoken[outer] = node.reteller(namespace)

    def on_chain_start(
        self,
        *given: Any,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if metadata is not None and name is not None and name == metadata.get("langgraph_node"):
            super().on_chain_start(*given, run_id=run_id, metadata=metadata, name=name, **kwargs)
            self._run.on_loop(self._started, run_id, metadata)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        super().on_chain_end(outputs, run_id=run_id, **kwargs)
        self._run.on_loop(self._ended, run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        super().on_chain_error(error, run_id=run_id, **kwargs)
        over = self._ended if isinstance(error, ParentCommand) else self._erred
        self._run.on_loop(over, run_id)

    def _started(self, run_id: UUID, metadata: dict[str, Any]) -> None:
        namespace = namespace_of(metadata)
        outermost = self._open.get(namespace)
        if outermost is not None:
            if outermost in self._failed:
                del self._failed[outermost]
                self._open[namespace] = run_id
            return
        self._open[namespace] = run_id
        self._run.stage_started(namespace, metadata)

    def _ended(self, run_id: UUID) -> None:
        self._run.stages_left()
        if (namespace := self._namespace(run_id)) is not None:
            del self._open[namespace]
            self._run.stage_ended(namespace)

    def _erred(self, run_id: UUID) -> None:
        if (namespace := self._namespace(run_id)) is not None:
            self._failed[run_id] = None
            self._run.node_failed(namespace)

    def _namespace(self, run_id: UUID) -> str | None:
        return next((ns for ns, outermost in self._open.items() if outermost == run_id), None)

    # Not inherited from langchain-core's protocol: of who is, LangGraph thinks that it wants every
    # node's output in pieces, and runs the node in one more task and through three generators.
    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        return output

    def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
        return output


def _told_below(_: str) -> None:
    return


_asked = getattr(chat_models, "_StreamingCallbackHandler", None)
TAPPABLE = isinstance(_asked, type) and issubclass(Tap, _asked)
