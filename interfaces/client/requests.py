"""What is asked, as httpx2 takes it, and what a question's answer says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Any
from urllib.parse import quote

from sluice.domain.events import Json

STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Call:
    """One request; `path` begins with a slash."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None

    def options(self, url: str, headers: Mapping[str, str]) -> dict[str, Any]:
        """For httpx2's `request` and `stream`."""
        sent = {} if self.json is None else {"json": self.json}
        return {
            "method": self.method,
            "url": url + self.path,
            "headers": {"Accept": "application/json", **headers, **self.headers},
            **sent,
        }


@dataclass(frozen=True, slots=True)
class Job:
    """A question that was taken."""

    job_id: str
    chat_id: str
    path: str
    stream_url: str

    @classmethod
    def of(cls, body: Mapping[str, str]) -> "Job":
        return cls(body["job_id"], body["chat_id"], body["path"], body["stream_url"])


def question(
    message: str | None = None,
    *,
    chat_id: str | None = None,
    session_id: str | None = None,
    retry_of: str | None = None,
    model: str | None = None,
    metadata: Mapping[str, Json] | None = None,
    idempotency_key: str | None = None,
) -> Call:
    """As the contract has it. With a key of its own it can be sent again for the same job."""
    path = "/api/v1/chat" if chat_id is None else f"/api/v1/chat/{_part(chat_id)}/messages"
    given = {
        "message": message,
        "session_id": session_id,
        "retry_of": retry_of,
        "model": model,
        "metadata": metadata,
    }
    body = {name: value for name, value in given.items() if value is not None}
    return Call("POST", path, {"Idempotency-Key": idempotency_key or token_urlsafe()}, body)


def cancelling(job: Job | str) -> Call:
    return Call("DELETE", f"/api/v1/jobs/{_part(id_of(job))}")


def giving(job: Job | str, input_id: str, value: Json) -> Call:
    """May be sent again: the same answer changes nothing."""
    path = f"/api/v1/chat/{_part(id_of(job))}/input"
    return Call("POST", path, json={"input_id": input_id, "value": value})


def looking(job: Job | str) -> Call:
    return Call("GET", f"/api/v1/jobs/{_part(id_of(job))}")


def stream_path(job: Job | str) -> str:
    return job.stream_url if isinstance(job, Job) else f"/api/v1/chat/{_part(job)}/events"


def id_of(job: Job | str) -> str:
    return job.job_id if isinstance(job, Job) else job


def _part(given: str) -> str:
    return quote(given, safe="")
