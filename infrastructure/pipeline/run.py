"""One run of a graph: what its reader and its nodes feed, and what comes of it."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import count
from threading import get_ident
from typing import Any
from uuid import UUID

from sluice.application.model_calls import Emit, ModelCalls
from sluice.application.ports import Tell
from sluice.domain.chat import ExecutionPath
from sluice.domain.errors import AsksHuman, PipelineError, UpstreamTruncated
from sluice.domain.events import (
    Beside,
    Done,
    Event,
    Json,
    Reset,
    StageCompleted,
    StageFailed,
    Token,
)
from sluice.infrastructure.pipeline.answers import Answer, values_of
from sluice.infrastructure.pipeline.finish_reasons import FinishReasons
from sluice.infrastructure.pipeline.listeners import Listener, NodeAt, Reader, ThoughtListener
from sluice.infrastructure.pipeline.namespaces import path_of
from sluice.infrastructure.pipeline.order import TokenOrder
from sluice.infrastructure.pipeline.retold import Retold
from sluice.infrastructure.pipeline.stages import Stages
from sluice.infrastructure.pipeline.visibility import Visibility


class GraphRun:
    """Owns the run's stages, the order of its tokens, and its answer.

    A node that waits for a human sets `waits`. The callback handlers that are ours: `listener`,
    and `thoughts` where a node declares tools, reasoning or data.
    `note` is what `pause` gave, if the run goes on after one; None where there can be none.
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
        note: Mapping[str, Any] | None = None,
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
        self._retold = None if note is None else Retold(note)
        self._order = TokenOrder(None if self._retold is None else self._retold.told)
        self._begun: dict[str, None] = {}
        self._early: dict[str, list[Beside]] = {}
        """What A1 has heard of node runs whose start its reader has yet to tell, by namespace."""
        self._error: PipelineError | None = None
        self._cut: list[str] = []
        self.resumes = bool(note)
        self._stages = Stages(visibility.stages, self._order, has_loop=has_loop)
        self._loop, self._thread = asyncio.get_running_loop(), get_ident()
        if note and self._retold is not None:
            self._recall(note, self._retold)

    def _recall(self, note: Mapping[str, Any], retold: Retold) -> None:
        self.answer.recall(note)
        self._stages.recall(note)
        self.calls.recall(note)
        self._cut += note["cut"]
        self._recall_said(retold)

    def _recall_said(self, retold: Retold) -> None:
        self._order.recall((piece.text, piece.path) for piece in retold.pieces)

    def pause(self) -> dict[str, Json]:
        """Tells what waits for its turn, and gives what the run must know when it goes on."""
        self.stages_left()
        self._tell_waiting()
        return {
            **self.answer.noted(),
            **self._stages.noted(),
            **(self._retold.noted() if self._retold is not None else {}),
            **self.calls.noted(),
            **(self.thoughts.noted() if self.thoughts is not None else {}),
            "cut": [*self._cut],
        }

    def _tell_waiting(self) -> None:
        self._tell_all(event for early in self._early.values() for event in early)
        self._tell_all(self._order.finish())
        if self._error is not None:
            raise self._error

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
        self._begun[namespace] = None
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
        if self._retold is not None and not (text := self._again(self._retold, namespace, text)):
            return
        token = Token(text, path)
        if self._order.say(namespace, token):
            self._tell(token)

    def _again(self, retold: Retold, namespace: str, text: str) -> str:
        """What of it is new. A node that says something else than before its pause revises it."""
        new = retold.to_tell(namespace, text)
        if new is not None:
            return new
        again = retold.retract(namespace)
        self._tell(Reset("revised"))
        self._recall_said(retold)
        self._tell_all(Token(piece.text, piece.path) for piece in retold.pieces)
        return again + text

    def show(self, namespace: str, event: Beside, queue: str) -> None:
        """Told at once, unless tokens of the run `queue` wait for their turn: then behind them.

        From any thread, as `token`.
        """
        if get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self.show, namespace, event, queue)
            return
        if self._retold is not None:
            if (new := self._retold.new_of(namespace, event)) is None:
                return
            event = new
        if self.reader == "events" and namespace not in self._begun:
            self._early.setdefault(namespace, []).append(event)
        elif not self._order.holds(queue, event):
            self._tell(event)

    def fails(self, error: PipelineError) -> PipelineError:
        """The run will end in this error, whoever catches it before."""
        self._error = self._error or error
        return error

    def cut(self, text: str) -> None:
        """A spoken call's answer broke off there unnoticed: it may be the run's answer."""
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
        """Raises PipelineError when the graph ended without an answer, or has not ended, and
        UpstreamTruncated when its answer was cut.

        What the state has under the keys of `earlier` is an earlier turn's.
        """
        self.stages_left()
        self._tell_waiting()
        if self.waits:
            raise AsksHuman("the graph waits for a human")
        values = {k: v for k, v in values_of(state).items() if k not in earlier}
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
