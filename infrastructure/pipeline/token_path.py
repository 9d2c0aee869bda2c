"""A2: tokens as they come.

Two readers with one meaning, held to one suite. `tap` listens in line and is the default;
`messages`, with true stage starts from `tasks`, is LangGraph's documented way: the reference,
and what is used when the tap's private marker is gone. Both feed a `GraphRun`.
"""

from contextlib import aclosing
from typing import Any, Literal

from langchain_core.messages import AIMessageChunk

from sluice.application.ports import Tell
from sluice.domain.chat import Question
from sluice.domain.events import Done
from sluice.infrastructure.pipeline.calls import SPOKEN, CallListener
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.namespaces import below, path_of
from sluice.infrastructure.pipeline.nodes import WrittenToken
from sluice.infrastructure.pipeline.run import GraphRun
from sluice.infrastructure.pipeline.runs import configured, start, translated
from sluice.infrastructure.pipeline.tap import TAPPABLE, Tap

_MODES: list[Literal["messages", "updates", "tasks", "values"]] = [
    "messages",
    "updates",
    "tasks",
    "values",
]


class TokenPath:
    def __init__(
        self,
        graph: WatchedGraph,
        *,
        offline: bool = False,
        reader: Literal["tap", "messages"] = "tap" if TAPPABLE else "messages",
    ) -> None:
        self._graph, self._offline = graph, offline
        self._read = self._tapped if reader == "tap" else self._streamed

    async def run(self, question: Question, tell: Tell, /) -> Done:
        with translated():
            return await self._read(question, tell)

    async def _tapped(self, question: Question, tell: Tell) -> Done:
        state, run = start(self._graph, question, tell, "tap")
        async with configured(self._graph, Tap(run)) as config:
            final = await self._graph.graph.ainvoke(state, config)
        return run.end("A2", final, offline=self._offline)

    async def _streamed(self, question: Question, tell: Tell) -> Done:
        state, run = start(self._graph, question, tell, "messages")
        tasks = _Tasks(run)
        final: object = None
        async with configured(self._graph, CallListener(run)) as config:
            parts = self._graph.graph.astream(
                state, config, stream_mode=_MODES, subgraphs=True, version="v2"
            )
            async with aclosing(parts):  # type: ignore[type-var]
                async for part in parts:
                    data: Any = part["data"]
                    match part["type"]:
                        case "messages" if isinstance(data, WrittenToken):
                            run.token(data.namespace, path_of(data.namespace), data.text)
                        case "messages":
                            _speak(run, *data)
                        case "tasks":
                            tasks.learn(part["ns"], data)
                        case "values" if not part["ns"]:
                            final = data
        return run.end("A2", final, offline=self._offline)


class _Tasks:
    """Stages from what LangGraph tells of tasks; only a task's start has metadata."""

    def __init__(self, run: GraphRun) -> None:
        self._run = run
        self._whole: dict[str, str] = {}
        """The whole namespace of a running task, by what LangGraph calls it."""

    def learn(self, ns: tuple[str, ...], task: dict[str, Any]) -> None:
        self._run.stages_left()
        namespace = "|".join((*ns, f"{task['name']}:{task['id']}"))
        if "triggers" in task:
            metadata = task.get("metadata") or {}
            whole = self._whole[namespace] = below(metadata, namespace)
            self._run.stage_started(whole, metadata)
            return
        whole = self._whole.pop(namespace, namespace)
        if task["error"] is None and not task["interrupts"]:
            self._run.stage_ended(whole)
        else:
            self._run.speaker_failed(whole)


def _speak(run: GraphRun, message: object, metadata: dict[str, Any]) -> None:
    """Chunks of a speaking call only: neither a node's state nor anybody's tool arguments."""
    namespace = metadata.get(SPOKEN)
    if namespace is None or not isinstance(message, AIMessageChunk):
        return
    content = message.content
    if text := content if isinstance(content, str) else str(message.text):
        run.token(namespace, path_of(namespace), text)
