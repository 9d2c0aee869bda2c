"""A2: tokens as they come.

Two readers with one meaning, held to one suite. `tap` listens in line and is the default;
`messages`, with true stage starts from `tasks`, is LangGraph's documented way: the reference,
and what is used when the tap's private marker is gone.
"""

from collections.abc import Iterator
from contextlib import aclosing
from typing import Any, Literal

from langchain_core.messages import AIMessageChunk

from sluice.application.ports import Tell
from sluice.domain.chat import Question
from sluice.domain.events import Done, Event, Token
from sluice.infrastructure.pipeline.answers import done, rest
from sluice.infrastructure.pipeline.calls import SPOKEN, CallListener
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.nodes import GraphRun, Written, path_of
from sluice.infrastructure.pipeline.runs import configured, start, translated
from sluice.infrastructure.pipeline.stages import Stages
from sluice.infrastructure.pipeline.tap import TAPPABLE, Tap
from sluice.infrastructure.pipeline.turns import Turns

_MODES: list[Literal["messages", "updates", "tasks", "custom", "values"]] = [
    "messages",
    "updates",
    "tasks",
    "custom",
    "values",
]


Reader = Literal["tap", "messages"]


class TokenPath:
    def __init__(
        self,
        graph: WatchedGraph,
        *,
        offline: bool = False,
        reader: Reader = "tap" if TAPPABLE else "messages",
    ) -> None:
        self._graph, self._offline = graph, offline
        self._read = self._tapped if reader == "tap" else self._streamed

    async def run(self, question: Question, tell: Tell, /) -> Done:
        with translated():
            return await self._read(question, tell)

    async def _tapped(self, question: Question, tell: Tell) -> Done:
        state, run = start(self._graph, question)
        turns = Turns()
        tap = Tap(self._graph, run, tell, turns)
        run.tell, run.take, run.listener = tap.tell, tap.take, tap
        async with configured(self._graph, tap) as config:
            final = await self._graph.graph.ainvoke(state, config)
        tap.finish()
        return self._ending(final, run, turns, tell)

    async def _streamed(self, question: Question, tell: Tell) -> Done:
        state, run = start(self._graph, question)
        turns = Turns()
        stages = Stages(self._graph.stages, run, turns)
        final: object = None
        run.listener = listener = CallListener(run.calls, self._graph.declared)
        async with configured(self._graph, listener) as config:
            parts = self._graph.graph.astream(
                state, config, stream_mode=_MODES, subgraphs=True, version="v2"
            )
            async with aclosing(parts):  # type: ignore[type-var]
                async for part in parts:
                    data: Any = part["data"]
                    match part["type"]:
                        case "messages":
                            token = _spoken(*data)
                            if token and turns.say(data[1]["langgraph_checkpoint_ns"], token):
                                tell(token)
                        case "custom" if isinstance(data, Written):
                            token = Token(data.text, data.path)
                            if turns.say(data.namespace, token):
                                tell(token)
                        case "tasks":
                            for event in self._task(part["ns"], data, run, stages, turns):
                                tell(event)
                        case "values" if not part["ns"]:
                            final = data
        for event in stages.left():
            tell(event)
        return self._ending(final, run, turns, tell)

    def _ending(self, final: object, run: GraphRun, turns: Turns, tell: Tell) -> Done:
        for token in turns.finish():
            tell(token)
        end = done("A2", final, run, offline=self._offline)
        for event in rest(end.answer, turns):
            tell(event)
        return end

    def _task(
        self,
        ns: tuple[str, ...],
        task: dict[str, Any],
        run: GraphRun,
        stages: Stages,
        turns: Turns,
    ) -> Iterator[Event]:
        yield from stages.left()
        namespace = "|".join((*ns, f"{task['name']}:{task['id']}"))
        if "triggers" in task:
            declared = self._graph.declared(path_of(namespace), task.get("metadata") or {})
            yield from stages.started(namespace, shown=declared.stage)
        elif task["error"] is None and not task["interrupts"]:
            yield from stages.ended(namespace)
        else:
            run.failed.add(namespace)
            yield from turns.end(namespace)


def _spoken(message: object, metadata: dict[str, Any]) -> Token | None:
    """Chunks of a speaking call only: neither a node's state nor anybody's tool arguments."""
    path = metadata.get(SPOKEN)
    if path is None or not isinstance(message, AIMessageChunk):
        return None
    content = message.content
    text = content if isinstance(content, str) else str(message.text)
    return Token(text, path) if text else None
