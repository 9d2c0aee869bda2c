"""One run of a graph: what its reader and its nodes feed, and what comes of it."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import count
from threading import get_ident
from typing import Any, Literal, Protocol
from uuid import UUID

from sluice.application.model_calls import CallTeller, Emit, ModelCalls
from sluice.application.ports import Tell
from sluice.domain.chat import ExecutionPath
from sluice.domain.errors import PipelineError, UpstreamTruncated
from sluice.domain.events import (
    Beside,
    Done,
    Event,
    Reset,
    StageCompleted,
    StageFailed,
    Token,
)
from sluice.infrastructure.pipeline.answers import Answer, values_of
from sluice.infrastructure.pipeline.finish_reasons import FinishReasons
from sluice.infrastructure.pipeline.namespaces import path_of
from sluice.infrastructure.pipeline.order import TokenOrder
from sluice.infrastructure.pipeline.stages import Stages
from sluice.infrastructure.pipeline.visibility import Visibility

Reader = Literal["events", "tap", "messages"]
"""Who reads: A1 by `astream_events`, which hears no token, or A2 in one of two ways."""


class NodeAt(Protocol):
    """A node that is running, by its namespace."""

    @property
    def namespace(self) -> str: ...

    def heard_at(self, namespace: str) -> bool: ...


class Listener(Protocol):
    """The callback handler that LangChain reports to; `take` is asked as `NodeRun.take` is."""

    def take(self, run_id: UUID, handlers: Sequence[object]) -> CallTeller | None: ...


class ThoughtListener(Protocol):
    """The callback handler that tells what models think; `thinker` takes what LangChain leaves
    out of that run's thoughts, None if they are not heard.
    """

    def thinker(self, run_id: UUID) -> Emit | None: ...


class GraphRun:
    """Owns the run's stages, the order of its tokens, and its answer.

    A node that waits for a human sets `waits`. The callback handlers that are ours: `listener`,
    and `thoughts` where a node declares tools, reasoning or data.
    """

    def __init__(
        self,
        visibility: Visibility,
        calls: ModelCalls,
        given: frozenset[str],
        tell: Tell,
        reader: Reader,
        *,
        hint: str | None = None,
        has_loop: bool = False,
        reasons: FinishReasons | None = None,
    ) -> None:
        self.reasons = reasons or FinishReasons()
        self.visibility, self.calls, self.reader, self._tell = visibility, calls, reader, tell
        self._hint = hint
        self.answer = Answer(given)
        self.waits = False
        self.listener: Listener | None = None
        self.thoughts: ThoughtListener | None = None
        self.nodes: dict[str, NodeAt] = {}
        self.child_roots = count(1)
        self._order = TokenOrder()
        self._begun: set[str] = set()
        self._early: dict[str, list[Beside]] = {}
        """What A1 has heard of node runs whose start its reader has yet to tell, by namespace."""
        self._error: PipelineError | None = None
        self._cut: list[str] = []
        self._stages = Stages(visibility.stages, self._order, has_loop=has_loop)
        self._loop, self._thread = asyncio.get_running_loop(), get_ident()

    def hears_alone(self, handlers: Sequence[object]) -> bool:
        """Whether all that this run listens with is among the handlers, and nothing else."""
        ours = [each for each in (self.listener, self.thoughts) if each is not None]
        return len(handlers) == len(ours) and all(
            any(handler is each for each in ours) for handler in handlers
        )

    def thinker(self, run_id: UUID) -> Emit | None:
        return None if self.thoughts is None else self.thoughts.thinker(run_id)

    def node_started(self, node: NodeAt) -> None:
        self.nodes[node.namespace] = node
        self._stages.failed.discard(node.namespace)

    def node_failed(self, namespace: str) -> None:
        """Its stage stays open: it may be tried again."""
        self._stages.failed.add(namespace)

    def node_left(self, namespace: str, how: type[StageCompleted | StageFailed]) -> None:
        """LangGraph will not report its end."""
        self._stages.left[namespace] = how

    def node_at(self, namespace: str) -> NodeAt | None:
        """The innermost watched node in which `namespace` is."""
        while namespace and namespace not in self.nodes:
            namespace = namespace.rpartition("|")[0]
        return self.nodes.get(namespace)

    def stage_started(self, namespace: str, metadata: Mapping[str, Any]) -> None:
        shown = self.visibility.is_stage(path_of(namespace), metadata)
        self._tell_all(self._stages.started(namespace, shown=shown))
        self._begun.add(namespace)
        self._tell_all(self._early.pop(namespace, ()))

    def stage_ended(self, namespace: str) -> None:
        self._tell_all(self._stages.ended(namespace))

    def stages_left(self) -> None:
        """Tells of the ends that LangGraph does not report."""
        self._tell_all(self._stages.ends_unreported())

    def speaker_failed(self, namespace: str) -> None:
        self.node_failed(namespace)
        self._tell_all(self._order.end(namespace))

    def token(self, namespace: str, path: str, text: str) -> None:
        """Told now, or held until its turn. From any thread: synchronous nodes run in others."""
        if get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self.token, namespace, path, text)
            return
        token = Token(text, path)
        if self._order.say(namespace, token):
            self._tell(token)

    def show(self, namespace: str, event: Beside, queue: str) -> None:
        """Told at once, unless tokens of the run `queue` wait for their turn: then behind them.

        From any thread, as `token`.
        """
        if get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self.show, namespace, event, queue)
        elif self.reader == "events" and namespace not in self._begun:
            self._early.setdefault(namespace, []).append(event)
        elif not self._order.holds(queue, event):
            self._tell(event)

    def fails(self, error: PipelineError) -> PipelineError:
        """The run will end in this error, whoever catches it before."""
        self._error = self._error or error
        return error

    def cut(self, text: str) -> None:
        """A spoken call's answer broke off there, and nobody was told: if it is in the run's
        answer, that is one.
        """
        self._cut.append(text)

    def on_loop(self, learn: Callable[..., None], *given: Any) -> None:
        """Calls it on the loop's thread: a graph that a synchronous node invokes is in another."""
        if get_ident() == self._thread:
            learn(*given)
        else:
            self._loop.call_soon_threadsafe(learn, *given)

    def end(
        self,
        path: ExecutionPath,
        state: object,
        *,
        offline: bool,
        earlier: Collection[str] = (),
    ) -> Done:
        """What the state has under the keys of `earlier` is an earlier turn's.

        Raises PipelineError when the graph ended without an answer, or has not ended, and
        UpstreamTruncated when its answer was cut.
        """
        self._tell_waiting()
        if self.waits:
            raise PipelineError("a node waits for a human, whose answer could not be kept")
        values = {key: value for key, value in values_of(state).items() if key not in earlier}
        answer, intent = self.answer.of(values), values.get("intent")
        if any(text in answer for text in self._cut):
            raise UpstreamTruncated("no finish reason")
        if self.reader != "events":
            self._square(answer)
        return Done(
            path=path,
            answer=answer,
            intent=intent if isinstance(intent, str) else None,
            finish_reason=self.calls.finish_reason,
            usage=self.calls.usage,
            offline_model=offline,
            hint=self._hint,
        )

    def _tell_waiting(self) -> None:
        """Whatever waits for its turn. Raises what ends the run all the same."""
        self.stages_left()
        self._tell_all(event for early in self._early.values() for event in early)
        self._tell_all(self._order.finish())
        if self._error is not None:
            raise self._error

    def _square(self, answer: str) -> None:
        """Makes the joined tokens equal the answer: by nothing, by its end, or by all anew."""
        said = "".join(self._order.said)
        if not answer.startswith(said):
            self._tell(Reset("revised"))
            said = ""
        if left := answer[len(said) :]:
            self._tell(Token(left, self._order.node))

    def _tell_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self._tell(event)
