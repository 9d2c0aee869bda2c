"""A2: tokens as they come.

Two readers with one meaning, held to one suite. `tap` listens in line and is the default;
`messages`, with true stage starts from `tasks`, is LangGraph's documented way: the reference,
and what is used when the tap's private marker is gone. Both feed a `GraphRun`.
"""

from contextlib import aclosing
from typing import Any, Literal
from uuid import UUID

from langchain_core.messages import AIMessageChunk

from sluice.application.ports import Tell
from sluice.domain.chat import Question
from sluice.domain.graph_state import Outcome
from sluice.infrastructure.pipeline.calls import SPOKEN, CallListener
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.namespaces import below, namespace_of, path_of
from sluice.infrastructure.pipeline.run import GraphRun
from sluice.infrastructure.pipeline.running_node import WrittenEvent, WrittenToken
from sluice.infrastructure.pipeline.runs import Call, called, outcome_of, translated
from sluice.infrastructure.pipeline.tap import TAPPABLE, Tap

_MODES: list[Literal["messages", "updates", "tasks", "values"]] = [
    "messages",
    "updates",
    "tasks",
    "values",
]

_PUSHED = "__pregel_push"
"""LangGraph's trigger, and the beginning of the path, of a task that a node has pushed."""


class TokenPath:
    def __init__(
        self,
        graph: WatchedGraph,
        *,
        offline: bool = False,
        reader: Literal["tap", "messages"] = "tap" if TAPPABLE else "messages",
    ) -> None:
        self._graph, self._offline = graph, offline
        self._run = self._tapped if reader == "tap" else self._streamed

    async def run(self, question: Question, tell: Tell, /) -> Outcome:
        with translated():
            return await self._run(question, tell)

    async def _tapped(self, question: Question, tell: Tell) -> Outcome:
        async with called(self._graph, question, tell, "tap", Tap) as call:
            return await outcome_of(call, self._invoke, "A2", offline=self._offline)

    async def _streamed(self, question: Question, tell: Tell) -> Outcome:
        async with called(self._graph, question, tell, "messages", _Tasks) as call:
            return await outcome_of(call, self._stream, "A2", offline=self._offline)

    async def _invoke(self, call: Call[Tap]) -> object:
        """As `ainvoke` does, which reads every update beside the states and throws it away; but
        the whole state, as the other readers have it, and not what an output schema leaves of it.
        """
        final: object = None
        states = call.called.astream(call.input, call.config, stream_mode="values", **call.options)
        async with aclosing(states):  # type: ignore[type-var]
            async for state in states:
                final = state
        return final

    async def _stream(self, call: Call["_Tasks"]) -> object:
        final: object = None
        run, tasks = call.run, call.listener
        if call.called.cache is not None:
            tasks.may_not_run = True
        parts = call.called.astream(
            call.input,
            call.config,
            stream_mode=_MODES,
            subgraphs=True,
            version="v2",
            **call.options,
        )
        async with aclosing(parts):  # type: ignore[type-var]
            async for part in parts:
                data: Any = part["data"]
                match part["type"]:
                    case "messages" if isinstance(data, WrittenToken):
                        run.token(data.namespace, path_of(data.namespace), data.text)
                    case "messages" if isinstance(data, WrittenEvent):
                        run.show(data.namespace, data.event, data.queue)
                    case "messages":
                        _speak(run, *data)
                    case "tasks":
                        tasks.learn(part["ns"], data)
                    case "values" if not part["ns"]:
                        final = data
        return final


class _Tasks(CallListener):
    """Stages from what LangGraph tells of tasks.

    Only a task's start has metadata. A task that a node has pushed (an `@task`, a Send) is told
    without its node: it waits until its own start says where it is. So does every task of a run
    that goes on after a pause, and of a graph that has a cache, which are `may_not_run`: those
    that were over by then, or whose result is in the cache, are told too, and do not run.
    """

    def __init__(self, run: GraphRun) -> None:
        super().__init__(run)
        self.may_not_run = run.resumes
        self._whole: dict[str, str] = {}
        """The whole namespace of a running task, by what LangGraph calls it."""
        self._pushed: dict[str, tuple[str, dict[str, Any]]] = {}
        self._places: dict[str, str] = {}

    def learn(self, ns: tuple[str, ...], task: dict[str, Any]) -> None:
        self._run.stages_left()
        own = f"{task['name']}:{task['id']}"
        namespace = "|".join((*ns, own))
        if "triggers" not in task:
            self._end(own, namespace, failed=task["error"] is not None or bool(task["interrupts"]))
            return
        metadata = task.get("metadata") or {}
        if _PUSHED not in task["triggers"] and not self.may_not_run:
            self._start(namespace, below(metadata, namespace), metadata)
        elif place := self._places.pop(own, None):
            self._start(namespace, place, metadata)
        else:
            self._pushed[own] = namespace, metadata

    def on_chain_start(
        self,
        *given: Any,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().on_chain_start(*given, run_id=run_id, metadata=metadata, name=name, **kwargs)
        if metadata is None or name is None or name != metadata.get("langgraph_node"):
            return
        if self.may_not_run or metadata.get("langgraph_path", ("",))[0] == _PUSHED:
            self._run.on_loop(self._located, namespace_of(metadata))

    def _located(self, place: str) -> None:
        own = place.rpartition("|")[2]
        if pushed := self._pushed.pop(own, None):
            namespace, metadata = pushed
            self._start(namespace, place, metadata)
        elif place not in self._whole.values():
            self._places[own] = place

    def _start(self, namespace: str, whole: str, metadata: dict[str, Any]) -> None:
        self._whole[namespace] = whole
        self._run.stage_started(whole, metadata)

    def _end(self, own: str, namespace: str, *, failed: bool) -> None:
        self._places.pop(own, None)
        if self._pushed.pop(own, None):  # it never ran: its result was in a cache
            return
        whole = self._whole.pop(namespace, namespace)
        if failed:
            self._run.speaker_failed(whole)
        else:
            self._run.stage_ended(whole)


def _speak(run: GraphRun, message: object, metadata: dict[str, Any]) -> None:
    """Chunks of a speaking call only: neither a node's state nor anybody's tool arguments."""
    namespace = metadata.get(SPOKEN)
    if namespace is None or not isinstance(message, AIMessageChunk):
        return
    content = message.content
    if text := content if isinstance(content, str) else str(message.text):
        run.token(namespace, path_of(namespace), text)
