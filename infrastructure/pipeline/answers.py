"""What a run's answer is, and how it is squared with what was already said."""

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage

from sluice.domain.chat import ExecutionPath
from sluice.domain.errors import PipelineError
from sluice.domain.events import Done, Event, Reset, Token
from sluice.infrastructure.pipeline.nodes import GraphRun
from sluice.infrastructure.pipeline.turns import Turns


def done(path: ExecutionPath, state: object, run: GraphRun, *, offline: bool) -> Done:
    """Raises PipelineError when the graph ended without an answer, or has not ended."""
    if run.waits:
        raise PipelineError("a node waits for a human, whom nobody asks yet")
    values = state if isinstance(state, Mapping) else getattr(state, "__dict__", {})
    intent = values.get("intent")
    return Done(
        path=path,
        answer=_answer(values, run),
        intent=intent if isinstance(intent, str) else None,
        finish_reason=run.calls.finish_reason,
        usage=run.calls.usage,
        offline_model=offline,
    )


def rest(answer: str, turns: Turns) -> Iterator[Event]:
    """What makes the joined tokens equal the answer: nothing, its end, or all of it anew."""
    said = "".join(turns.said)
    if answer == said:
        return
    if not answer.startswith(said):
        yield Reset("revised")
        said = ""
    if left := answer[len(said) :]:
        yield Token(left, turns.node)


def _answer(values: Mapping[str, Any], run: GraphRun) -> str:
    answer = values.get("answer")
    if isinstance(answer, str) and answer:
        return answer
    messages = [m for m in values.get("messages") or () if isinstance(m, AIMessage)]
    added = [m for m in messages if m.id in run.added] or list(run.added.values())
    if text := "".join(str(message.text) for message in added):
        return text
    given = run.given
    if messages and messages[-1].id not in given and (text := str(messages[-1].text)):
        return text
    if isinstance(answer, str):
        return answer
    raise PipelineError("the graph ended without an answer")
