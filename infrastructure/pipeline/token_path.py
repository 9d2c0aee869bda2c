"""A2: tokens as they come, from LangGraph's `messages`, with true stage starts from `tasks`."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any, Literal

from langchain_core.messages import AIMessageChunk

from domain.chat import Question
from domain.events import Event, Token
from infrastructure.pipeline.answers import done, rest
from infrastructure.pipeline.calls import SPOKEN, CallHandler
from infrastructure.pipeline.graph import WatchedGraph, path_of
from infrastructure.pipeline.nodes import Written
from infrastructure.pipeline.runs import start, translated
from infrastructure.pipeline.stages import Stages
from infrastructure.pipeline.turns import Turns

_MODES: list[Literal["messages", "updates", "tasks", "custom", "values"]] = [
    "messages",
    "updates",
    "tasks",
    "custom",
    "values",
]


class TokenPath:
    def __init__(self, graph: WatchedGraph, *, offline: bool = False) -> None:
        self._graph, self._offline = graph, offline

    def run(self, question: Question, /) -> AsyncGenerator[Event, None]:
        return translated(self._read(question))

    async def _read(self, question: Question) -> AsyncGenerator[Event, None]:
        state, run = start(self._graph, question)
        turns, stages = Turns(), Stages(self._graph.stages)
        final: object = None
        parts = self._graph.graph.astream(
            state,
            {"callbacks": [CallHandler(run.calls, self._graph.declared)]},
            stream_mode=_MODES,
            subgraphs=True,
            version="v2",
        )
        async with aclosing(parts):
            async for part in parts:
                data: Any = part["data"]
                match part["type"]:
                    case "messages":
                        token = _spoken(*data)
                        if token and turns.say(data[1]["langgraph_checkpoint_ns"], token):
                            yield token
                    case "custom" if isinstance(data, Written):
                        token = Token(data.text, data.path)
                        if turns.say(data.namespace, token):
                            yield token
                    case "tasks":
                        for event in self._task(part["ns"], data, stages, turns):
                            yield event
                    case "values" if not part["ns"]:
                        final = data
        for token in turns.finish():
            yield token
        end = done("A2", final, run, offline=self._offline)
        for event in rest(end.answer, turns):
            yield event
        yield end

    def _task(
        self, ns: tuple[str, ...], task: dict[str, Any], stages: Stages, turns: Turns
    ) -> Iterator[Event]:
        namespace = "|".join((*ns, f"{task['name']}:{task['id']}"))
        path = path_of(namespace)
        if "triggers" in task:
            shown = self._graph.declared(path, task.get("metadata") or {}).stage
            if shown and (started := stages.started(path)):
                yield started
            return
        yield from turns.end(namespace)
        if task["error"] is None and (ended := stages.ended(path)):
            yield ended


def _spoken(message: object, metadata: dict[str, Any]) -> Token | None:
    """Chunks of a speaking call only: neither a node's state nor anybody's tool arguments."""
    path = metadata.get(SPOKEN)
    if path is None or not isinstance(message, AIMessageChunk):
        return None
    content = message.content
    text = content if isinstance(content, str) else str(message.text)
    return Token(text, path) if text else None
