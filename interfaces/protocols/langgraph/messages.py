"""A chat's messages as LangGraph's clients know them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sluice.application.codec import FORMS, fields_of
from sluice.application.compact_json import compact
from sluice.domain.chat import JobId, Message
from sluice.domain.events import Data, Event, Recorded, Reset, Stage, Token, Tool
from sluice.interfaces.protocols.beside import (
    FAILED,
    NOTHING_BESIDE,
    Beside,
    Call,
    Item,
    Thought,
    after,
    call_id,
    thought_id,
)

Custom = Stage | Data
Form = dict[str, Any]
"""`{"type": "human" or "ai", "id", "content"}`."""


def answer_id(job_id: JobId, resets: int) -> str:
    """Of an answer: what was taken back and what was said instead are two messages."""
    return f"msg_{job_id}-r{resets}" if resets else f"msg_{job_id}"


def answer_of(job_id: JobId, text: str, resets: int = 0) -> Form:
    return {"type": "ai", "id": answer_id(job_id, resets), "content": text}


@dataclass(frozen=True, slots=True)
class Draft:
    """What a job has told that is shown as messages: `place` is how much of what is told beside
    the answer began before it, None if nothing of it was said.
    """

    beside: Beside = NOTHING_BESIDE
    place: int | None = None

    def behind(self, event: Event) -> "Draft":
        beside = after(self.beside, event)
        if isinstance(event, Reset):
            return Draft(beside)
        if isinstance(event, Token) and self.place is None:
            return Draft(beside, len(beside.items))
        return self if beside is self.beside else Draft(beside, self.place)

    @property
    def said(self) -> bool:
        return self.place is not None

    def forms(self, job_id: JobId, answer: Form | None = None) -> list[Form]:
        """All of it, and the answer where it was begun."""
        items = self.beside.items
        place = len(items) if self.place is None else self.place
        before, behind = (
            [_beside(job_id, one) for one in part] for part in (items[:place], items[place:])
        )
        shown = [answer] if answer else []
        return [*chain(*before), *shown, *chain(*behind)]


NOTHING_TOLD = Draft()


def draft_of(log: Sequence[Recorded]) -> Draft:
    draft = NOTHING_TOLD
    for _, event in log:
        draft = draft.behind(event)
    return draft


def _beside(job_id: JobId, item: Item) -> list[Form]:
    if isinstance(item, Thought):
        return [thought_of(job_id, item, item.said.text)]
    own = call_id(job_id, item)
    called = {"type": "tool_call", "id": own, "name": item.name, "args": item.args}
    asked = {"type": "ai", "id": own, "content": "", "tool_calls": [called]}
    return [asked, result_of(job_id, item)] if item.over else [asked]


def thought_of(job_id: JobId, thought: Thought, text: str) -> Form:
    """`index`: clients join blocks that have the same."""
    block = {"type": "reasoning", "reasoning": text, "index": 0}
    return {"type": "ai", "id": thought_id(job_id, thought), "content": [block]}


def result_of(job_id: JobId, call: Call) -> Form:
    own, completed = call_id(job_id, call), call.status == "completed"
    return {
        "type": "tool",
        "id": f"{own}-result",
        "tool_call_id": own,
        "name": call.name,
        "content": call.result or "" if completed else FAILED,
        "status": "success" if completed else "error",
    }


def form_of(message: Message) -> Form:
    """A question has the id that its client gave it, or the chat's."""
    if message.role == "assistant":
        return answer_of(message.job_id, message.content)
    return {"type": "human", "id": message.id, "content": message.content}


def call_chunks(job_id: JobId, beside: Beside, tool: Tool) -> Iterator[Form]:
    """What a step adds to a call: pieces of the message that names it, and its result's."""
    _, before, call = beside.step(tool)
    own = call_id(job_id, call)
    if before is None:
        yield _call_chunk(own, {"name": call.name, "id": own, "args": ""})
    if call.arguments is not None and (before is None or before.arguments is None):
        yield _call_chunk(own, {"name": None, "id": None, "args": call.arguments})
    if call.over:
        yield result_of(job_id, call)


def _call_chunk(own: str, piece: Form) -> Form:
    chunk = {"type": "tool_call_chunk", "index": 0, **piece}
    return {"type": "AIMessageChunk", "id": own, "content": "", "tool_call_chunks": [chunk]}


def values_of(asked: str, told: Sequence[Form]) -> str:
    """`asked`: the chat up to the question, as `asked_before` gives it."""
    return f'{{"messages":[{",".join([*([asked] if asked else []), *map(compact, told)])}]}}'


def asked_before(messages: Sequence[Message], job_id: JobId) -> str:
    """The chat up to where the job's answer stands, or will: as JSON, joined by commas.

    It is the same before and after that answer came.
    """
    return ",".join(compact(form_of(message)) for message in _asked(messages, job_id))


def _asked(messages: Sequence[Message], job_id: JobId) -> Iterator[Message]:
    answered = any(one.role == "assistant" and one.job_id == job_id for one in messages)
    found = False
    for message in messages:
        own = message.job_id == job_id
        if (message.role == "assistant" and own) or (found and message.role == "user"):
            return
        found = found or (own and not answered)
        yield message


def custom_of(event: Custom) -> Form:
    """What a `custom` event tells: the native event's fields, by its name."""
    return {"type": FORMS[type(event)].name, **fields_of(event)}


def named_of(event: Custom) -> Form:
    """The same for version 2: data under the name that its node has given it."""
    if isinstance(event, Data):
        return {"name": event.name, "payload": event.data}
    return {"name": "stage", "payload": custom_of(event)}
