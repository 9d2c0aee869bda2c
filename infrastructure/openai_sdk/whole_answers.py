"""What an answer says that came in one piece."""

from typing import Any, NamedTuple


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
