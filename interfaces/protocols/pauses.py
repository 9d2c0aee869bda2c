"""Where a job asks a human: what it asks, and where its stream stops and goes on again.

Most protocols end a stream there, and have the answer begin another one. The frames that end it
are the first that an encoder has for the event behind the pause, so that a position in a stream
means the same whether its reader was there or came later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sluice.application.coalescing import coalesce
from sluice.application.encoding import Encoder
from sluice.application.jobs import JobView
from sluice.domain.events import BEGINNING, Cursor, Event, Json, NeedsInput, Recorded


class Pausing(Encoder, Protocol):
    """An encoder of a protocol whose streams end where a job waits."""

    def closing(self, state: Any, last: Cursor, /) -> Sequence[bytes]:
        """The frames that end the stream behind the log's last event, a question."""
        ...


@dataclass(frozen=True, slots=True)
class Pause:
    """The questions that were asked at once, and the last one's id in the log."""

    questions: tuple[NeedsInput, ...]
    last: Cursor

    def asks(self, input_id: str) -> bool:
        return any(one.input_id == input_id for one in self.questions)


def goes_on(asked: Sequence[NeedsInput], event: Event) -> bool:
    """Whether the event is behind the pause in which these were asked.

    What is asked at once expires at once. A job may ask again with nothing told in between.
    """
    if isinstance(event, NeedsInput):
        return any(one.expires_at != event.expires_at for one in asked)
    return bool(asked)


def pauses_in(log: Sequence[Recorded]) -> Sequence[Pause]:
    found = list[Pause]()
    asked: tuple[NeedsInput, ...] = ()
    for own, event in log:
        if goes_on(asked, event):
            asked = ()
        if isinstance(event, NeedsInput):
            if asked:
                found.pop()
            asked = (*asked, event)
            found.append(Pause(asked, own))
    return found


def asked_last(log: Sequence[Recorded]) -> Sequence[NeedsInput]:
    """The questions that the log ends with, if it does."""
    found = pauses_in(log)
    return found[-1].questions if found and found[-1].last == log[-1].id else ()


def pending_in(job: JobView) -> Sequence[NeedsInput]:
    """What the job waits for: of what was asked at once, some may have been answered."""
    return [one for one in asked_last(job.events) if one.input_id in job.missing]


def closing_of(encoder: Pausing, job: JobView) -> bytes:
    """The bytes that end the stream of a log that ends with questions: those that wait still."""
    pending = pending_in(job)
    answered = [one for one in asked_last(job.events) if pending and one not in pending]
    state, before = encoder.initial, BEGINNING
    for recorded in coalesce(job.events):
        if recorded.event not in answered:
            state, _ = encoder.encode(state, before, recorded)
        before = recorded.id
    return b"".join(encoder.closing(state, before))


def verdict(asked: NeedsInput, *, approved: bool, reason: str | None = None) -> Json:
    """Yes or no as the graph wants to hear it: LangChain's agents take decisions, and why not.

    So does a stop that the graph itself asks nothing at, by its schema.
    """
    decision: dict[str, Json] = {"type": "approve" if approved else "reject"}
    if reason and not approved:
        decision["message"] = reason
    match asked.prompt:
        case {"action_requests": list(requests)}:
            return {"decisions": [decision for _ in requests]}
        case {"type": "tool_approval"}:
            return decision
    return decision if (asked.schema or {}).get("type") == "object" else approved
