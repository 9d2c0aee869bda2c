"""Whole characters: some servers cut a text between the halves of one, as they count in UTF-16.

The SDK gives such halves on, and no text that holds one can be told, kept or sent: whoever joins
them in Python still has two.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_PLACE = ("type", "output_index", "content_index")
_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")

Place = tuple[object, ...]
Text = tuple[dict[str, Any], str]
"""What holds it, and its name there."""


class WholeCharacters:
    """Of one answer's events, chat completions or the Responses API's. An event whose text ends in
    half of a character waits for the next one, which may begin with the other; a half without
    another stays as the server sent it. `held`: the event that waits, if any.
    """

    def __init__(self) -> None:
        self.held = b""

    def of(self, data: bytes) -> tuple[bytes, ...]:
        held, self.held = self.held, b""
        if not _HALF.search(data):
            return (held, data) if held else (data,)
        if held:
            held, data = _joined(held, data)
        if any(map(_half_at_the_end, _texts_in(_event(data)).values())):
            self.held = data
            return (held,) if held else ()
        return (held, data) if held else (data,)

    def left(self) -> tuple[bytes, ...]:
        """At the end: what still waits."""
        held, self.held = self.held, b""
        return (held,) if held else ()


def _joined(first: bytes, second: bytes) -> tuple[bytes, bytes]:
    """The half at the end of a text is moved to the beginning of the same text's next piece."""
    event, following = _event(first), _event(second)
    others, moved = _texts_in(following), False
    for place, text in _texts_in(event).items():
        other = others.get(place)
        if other and _half_at_the_end(text) and _half_at_the_start(other):
            (holder, name), (next_holder, next_name) = text, other
            whole = (holder[name][-1] + next_holder[next_name][0]).encode("utf-16", "surrogatepass")
            next_holder[next_name] = whole.decode("utf-16") + next_holder[next_name][1:]
            holder[name], moved = holder[name][:-1], True
    if not moved:
        return first, second
    return json.dumps(event).encode(), json.dumps(following).encode()


def _half_at_the_end(text: Text) -> bool:
    holder, name = text
    return re.search("[\ud800-\udbff]\\Z", holder[name]) is not None


def _half_at_the_start(text: Text) -> bool:
    holder, name = text
    return re.match("[\udc00-\udfff]", holder[name]) is not None


def _event(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _texts_in(event: Any) -> dict[Place, Text]:
    return dict(_each_text(event)) if isinstance(event, dict) else {}


def _each_text(event: dict[str, Any]) -> Iterator[tuple[Place, Text]]:
    if _is_text(event.get("delta")):
        yield tuple(map(event.get, _PLACE)), (event, "delta")
    for choice in _dicts(event.get("choices")):
        for delta in _dicts([choice.get("delta")]):
            index = choice.get("index")
            yield from (
                ((index, name), (delta, name)) for name in _TEXTS if _is_text(delta.get(name))
            )
            for call in _dicts(delta.get("tool_calls")):
                for function in _dicts([call.get("function")]):
                    if _is_text(function.get("arguments")):
                        yield (index, call.get("index"), "arguments"), (function, "arguments")


def _dicts(values: object) -> Iterator[dict[str, Any]]:
    if isinstance(values, list):
        yield from (value for value in values if isinstance(value, dict))


def _is_text(value: object) -> bool:
    return isinstance(value, str)
