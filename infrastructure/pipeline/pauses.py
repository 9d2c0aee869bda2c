"""A run that stops for a human: what it asks, and how it goes on."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.serde.types import INTERRUPT
from langgraph.types import Command, Interrupt, StateSnapshot
from pydantic import TypeAdapter

from sluice.domain.errors import AskerGone, Declined
from sluice.domain.events import InputKind, Json
from sluice.domain.graph_state import Head, InputRequest, Pause, Resumption

logger = logging.getLogger(__name__)

_ASKED = "asked"
"""In a pause's note: how often the run had asked by then, which tells its questions apart."""
_DECISION: Mapping[str, Json] = {
    "type": "object",
    "properties": {"type": {"enum": ["approve", "reject"]}},
    "required": ["type"],
}
"""As HumanInTheLoopMiddleware has it: of a stop that the graph itself asks nothing at."""
_json = TypeAdapter(Any).dump_python


def pause_of(
    snapshot: StateSnapshot, head: Head, note: Mapping[str, Json], before: Pause | None
) -> Pause | None:
    """None if the run has come to its end. `before` is the pause that it went on from."""
    if not snapshot.next:
        return None
    asked = _asked(before) + 1
    requests = [_request(each, each.id) for each in pending(snapshot)]
    if not requests:
        prompt = f"Go on with {', '.join(snapshot.next)}?"
        stop_id = f"{head.checkpoint_id}-{asked}"
        requests = [InputRequest(stop_id, prompt, "approval", _DECISION)]
    return Pause(head, tuple(requests), {**note, _ASKED: asked})


def asked_again(resumption: Resumption, note: Mapping[str, Json]) -> Pause:
    """An answer was none that the graph can take: nothing was kept of it, and it is asked anew.

    Under other ids: an answer to the first ones has been taken. `note` has what was told meanwhile.
    """
    logger.warning("an answer is not what the graph's response_schema wants: it is asked again")
    pause = resumption.pause
    asked = _asked(pause) + 1
    requests = [
        InputRequest(f"{_interrupt_id(each.input_id)}.{asked}", each.prompt, each.kind, each.schema)
        for each in pause.requests
    ]
    return Pause(pause.head, tuple(requests), {**note, _ASKED: asked})


def require_asking(paused: CheckpointTuple, snapshot: StateSnapshot) -> None:
    """Without a node that has asked LangGraph would come to an end, the answer unheard.

    Raises AskerGone.
    """
    asked = {task for task, channel, _ in paused.pending_writes or () if channel == INTERRUPT}
    if not snapshot.next or not asked <= {task.id for task in snapshot.tasks}:
        raise AskerGone


def command(resumption: Resumption, snapshot: StateSnapshot) -> Command[Any]:
    """Goes on where the run paused; when it has done so before, with what is still missing.

    LangGraph would take an answer that it has had for that to the same node's next question.
    Raises Declined.
    """
    waiting = {each.id for each in pending(snapshot)}
    answers = {_interrupt_id(key): value for key, value in resumption.answers.items()}
    if not waiting and any(map(_declines, answers.values())):
        raise Declined("a human has declined")
    return Command(resume={key: value for key, value in answers.items() if key in waiting})


def at(head: Head) -> RunnableConfig:
    return RunnableConfig(configurable={**head._asdict(), "checkpoint_ns": ""})


def pending(snapshot: StateSnapshot) -> Iterator[Interrupt]:
    """The questions that nobody has answered: tasks that have asked and not ended."""
    for task in snapshot.tasks:
        if task.result is None:
            yield from task.interrupts


def _request(asks: Interrupt, input_id: str) -> InputRequest:
    schema = getattr(asks, "response_schema", None)
    prompt: Json = _json(asks.value, mode="json", fallback=str)
    return InputRequest(input_id, prompt, _kind(prompt, schema), schema)


def _kind(prompt: Json, schema: object) -> InputKind:
    """`HumanInTheLoopMiddleware` asks for all calls at once, or for each by itself."""
    if isinstance(prompt, Mapping) and (
        {"action_requests", "review_configs"} <= set(prompt)
        or prompt.get("type") == "tool_approval"
    ):
        return "approval"
    return "text" if schema is None else "form"


def _asked(pause: Pause | None) -> int:
    asked = 0 if pause is None else pause.said.get(_ASKED)
    return asked if isinstance(asked, int) else 0


def _interrupt_id(input_id: str) -> str:
    return input_id.partition(".")[0]


def _declines(value: Json) -> bool:
    said = value.get("type") if isinstance(value, Mapping) else value
    return said is False or said == "reject"
