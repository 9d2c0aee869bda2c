"""A chat's messages as LangGraph's clients know them."""

from collections.abc import Iterator, Sequence
from typing import Any

from sluice.application.compact_json import compact
from sluice.domain.chat import JobId, Message

Form = dict[str, Any]
"""`{"type": "human" or "ai", "id", "content"}`."""


def answer_id(job_id: JobId, resets: int) -> str:
    """Of an answer: what was taken back and what was said instead are two messages."""
    return f"msg_{job_id}-r{resets}" if resets else f"msg_{job_id}"


def answer_of(job_id: JobId, text: str, resets: int = 0) -> Form:
    return {"type": "ai", "id": answer_id(job_id, resets), "content": text}


def form_of(message: Message) -> Form:
    """A question has the id that its client gave it, or the chat's."""
    if message.role == "assistant":
        return answer_of(message.job_id, message.content)
    return {"type": "human", "id": message.id, "content": message.content}


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
