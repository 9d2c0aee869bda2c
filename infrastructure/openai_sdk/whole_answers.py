"""An answer that came in one piece: what it says, and how it is judged."""

from typing import Any, NamedTuple

from pydantic import BaseModel

from sluice.domain.errors import AnswerTooLarge
from sluice.infrastructure.llm.failures import of_error

from .answers import UserCall
from .ends import failure_of, finish_reason_in, responses_finish_reason, usage_of
from .failures import CutAnswer, NamedFailure, NoAnswer


def whole(call: UserCall, answer: object, request: Any) -> None:
    """Counts and judges an answer that was not streamed; its text comes with the node's state,
    its thoughts are told here.

    `answer`: what the SDK made of the body, which may be anything.
    """
    if not isinstance(answer, BaseModel) or (answer.model_extra or {}).get("error"):
        raise NoAnswer(message="the answer is no object of the API", request=request)
    said = said_in(answer, responses=call.responses)
    if len(said.text.encode(errors="replace")) > call.max_answer:
        raise AnswerTooLarge
    if said.thought and not call.over:
        call.teller.reason(said.thought)
    usage = getattr(answer, "usage", None)
    cost = usage_of(usage.model_dump()) if isinstance(usage, BaseModel) else None
    if call.responses:
        status, details = (
            getattr(answer, "status", None),
            getattr(answer, "incomplete_details", None),
        )
        items = getattr(answer, "output", None) or ()
        called = any(getattr(item, "type", None) == "function_call" for item in items)
        reason = details.model_dump() if isinstance(details, BaseModel) else details
        call.end(cost, responses_finish_reason(status, reason, called=called))
        if status == "failed":
            error = getattr(answer, "error", None)
            failure = of_error(error.model_dump() if isinstance(error, BaseModel) else error)
            raise NamedFailure(request) from failure
        return
    choices = getattr(answer, "choices", None)
    if not isinstance(choices, list):
        raise NoAnswer(message="the answer has no choices", request=request)
    given = [getattr(choice, "finish_reason", None) for choice in choices]
    reasons = [finish_reason_in(each) if isinstance(each, str) else each for each in given]
    call.end(cost, reasons[0] if reasons and isinstance(reasons[0], str) else None)
    for choice, reason in zip(choices, reasons, strict=True):
        if found := failure_of(reason, getattr(choice, "error", None)):
            raise NamedFailure(request) from found
    if not all(reasons):
        raise CutAnswer(message="the answer has no finish reason", request=request)


class Said(NamedTuple):
    """All the text of an answer, and what its model thought aloud."""

    text: str
    thought: str


def said_in(answer: object, *, responses: bool) -> Said:
    """Of what has another shape than the API documents nothing is said.

    `answer`: the SDK's object, of chat completions or of the Responses API.
    """
    if responses:
        items = _list(answer, "output")
        thoughts = [item for item in items if getattr(item, "type", None) == "reasoning"]
        others = (item for item in items if item not in thoughts)
        words = (_texts(item, "summary") or _texts(item, "content") for item in thoughts)
        return Said("".join(_texts(item, "content") for item in others), "".join(words))
    messages = [getattr(choice, "message", None) for choice in _list(answer, "choices")]
    first = messages[0] if messages else None
    thought = _text(first, "reasoning_content") or _text(first, "reasoning")
    return Said("".join(_text(message, "content") for message in messages), thought)


def _texts(item: object, name: str) -> str:
    return "".join(_text(part, "text") for part in _list(item, name))


def _list(holder: object, name: str) -> list[Any]:
    value = getattr(holder, name, None)
    return value if isinstance(value, list) else []


def _text(holder: object, name: str) -> str:
    value = getattr(holder, name, None)
    return value if isinstance(value, str) else ""
