"""What the frames of both APIs have in common.

No frame has an `id`: with one, OpenAI's Python client takes the empty line behind a comment for
an event without data, and fails.
"""

from collections.abc import Mapping
from typing import Any

from sluice.application.codec import fields_of
from sluice.application.compact_json import compact
from sluice.domain.events import Cancelled, Failed, NeedsInput, Stage
from sluice.interfaces.protocols.frames import escaped

PIPELINE = "sluice"
WAITS = b'"code":"needs_input"'
"""In no text: there its quotation marks would be escaped."""
STREAM_END = b"data: [DONE]\n\n"
ERROR = b'data: {"error":'
"""How the frame begins behind which a body is cut."""


def data_frame(data: Mapping[str, Any]) -> bytes:
    return f"data: {escaped(compact(data))}\n\n".encode()


def stage_frame(stage: Stage) -> bytes:
    """A comment: no client of the protocol knows stages, and none minds."""
    return f": {escaped(compact(fields_of(stage)))}\n\n".encode()


def error_body(
    message: str, status: int, code: str | None, param: str | None = None
) -> dict[str, Any]:
    kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}

_STATUSES = {
    "upstream_timeout": 504,
    "deadline_exceeded": 504,
    "stream_lost": 500,
    "worker_lost": 500,
    "pipeline_error": 500,
    "answer_too_large": 500,
    "internal": 500,
}


def status_of_failure(code: str) -> int:
    """What a failed job's status is where no stream has begun."""
    return _STATUSES.get(code, 502)


def end_body(end: Failed | Cancelled | NeedsInput) -> tuple[int, dict[str, Any]]:
    """How a job that has no answer ends, with the status if none was sent before.

    A job that asks a human has an end here: there is no word for it, and no way to answer.
    """
    if isinstance(end, NeedsInput):
        return 409, error_body("The answer waits for a person's input.", 409, "needs_input")
    if isinstance(end, Failed):
        status = status_of_failure(end.code)
        return status, error_body(end.message, status, end.code)
    return 409, error_body("The answer was cancelled.", 409, "cancelled")


def model_name(model: str | None) -> str:
    return PIPELINE if model is None else f"{PIPELINE}:{model}"
