"""How an answer ended, and what it cost: of either API, in the domain's words."""

from sluice.domain.errors import UpstreamError
from sluice.domain.events import Usage
from sluice.infrastructure.llm.failures import of_choice, of_finish_reason, reason_in


def finish_reason_in(said: object) -> str | None:
    """The finish reason that a chat completion gives, if it gives one."""
    return reason_in(said) if isinstance(said, str) else None


def failure_of(reason: object, error: object = None) -> UpstreamError | None:
    """What one choice of a chat completion failed of."""
    if error:
        return of_choice(error)
    return of_finish_reason(reason) if isinstance(reason, str) else None


def responses_finish_reason(status: object, details: object, *, called: bool) -> str | None:
    """The Responses API's ends in the words of chat completions."""
    match status, details:
        case "completed", _:
            return "tool_calls" if called else "stop"
        case "incomplete", {"reason": "max_output_tokens"}:
            return "length"
        case "incomplete", {"reason": str(reason)}:
            return reason
        case _:
            return None


def usage_of(usage: object) -> Usage | None:
    """In either API's words; None for what cannot be counted with."""
    if not isinstance(usage, dict):
        return None
    given = usage.get("prompt_tokens", usage.get("input_tokens"))
    made = usage.get("completion_tokens", usage.get("output_tokens"))
    return Usage.counted(given, made, usage.get("total_tokens"))
