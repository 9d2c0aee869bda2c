"""A response as an object: what its log has come to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sluice.domain.chat import Job
from sluice.domain.events import Cancelled, Done, Failed, Terminal, Usage
from sluice.interfaces.protocols.openai.frames import model_name


@dataclass(frozen=True, slots=True)
class Item:
    """A message of the output; behind a reset there is another one."""

    job_id: str
    index: int

    @property
    def id(self) -> str:
        return item_id(self.job_id, self.index)

    def object(self, status: str, *parts: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": list(parts),
        }


@dataclass(frozen=True, slots=True)
class ReasoningItem:
    """What was thought aloud, as an item before the message."""

    job_id: str
    number: int

    @property
    def id(self) -> str:
        return f"rs_{self.job_id}-{self.number}"

    def object(self, status: str, *parts: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "reasoning",
            "summary": [],
            "content": list(parts),
            "status": status,
        }


_SETTINGS: Mapping[str, Any] = {
    "background": True,
    "completed_at": None,
    "frequency_penalty": 0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": False,
    "presence_penalty": 0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": None,
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1,
    "text": {"format": {"type": "text"}},
    "tool_choice": "none",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1,
    "truncation": "disabled",
}
"""What Open Responses requires of every response. A graph's nodes choose their own settings, so
those of the model have the API's defaults, and say nothing. No request owns a job, so each one is
in the background; and the log keeps no time of its end.
"""


def item_id(job_id: str, index: int) -> str:
    return f"msg_{job_id}-r{index}" if index else f"msg_{job_id}"


def place_of(item_id: str, index: int) -> dict[str, Any]:
    """Of a part of an item, as its events name it."""
    return {"item_id": item_id, "output_index": index, "content_index": 0}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def reasoning_part(text: str) -> dict[str, Any]:
    return {"type": "reasoning_text", "text": text}


def response_object(
    job: Job,
    conversation: str | None,
    status: str,
    output: Sequence[Mapping[str, Any]] = (),
    end: Terminal | None = None,
) -> dict[str, Any]:
    """`output` has the last message only: clients join the texts of all that they are given.

    `conversation`: the name by which a request goes on in the job's chat, if it has one.
    """
    error = {"code": end.code, "message": end.message} if isinstance(end, Failed) else None
    usage = end.usage if isinstance(end, Done) else None
    return {
        "id": job.id,
        "object": "response",
        "created_at": int(job.created_at.timestamp()),
        "status": status,
        "error": error,
        "incomplete_details": end and _why_incomplete(end),
        "metadata": job.metadata,
        "conversation": conversation and {"id": conversation},
        "model": model_name(job.model),
        "output": list(output),
        "usage": usage and _usage(usage),
        **_SETTINGS,
    }


def status_of_end(end: Terminal) -> str:
    match end:
        case Done():
            return "incomplete" if _why_incomplete(end) else "completed"
        case Failed():
            return "failed"
        case Cancelled():
            return "cancelled"


def _why_incomplete(end: Terminal) -> dict[str, str] | None:
    """Of an answer that was ended before its model was done."""
    reason = _CUT_SHORT.get(end.finish_reason or "") if isinstance(end, Done) else None
    return {"reason": reason} if reason else None


_CUT_SHORT = {"length": "max_output_tokens", "content_filter": "content_filter"}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.total_tokens,
    }
