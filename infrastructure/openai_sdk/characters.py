"""Whole characters: some servers cut a text between the halves of one, as they count in UTF-16.

The SDK gives such halves on, and no text that holds one can be told, kept or sent: whoever joins
them in Python still has two.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from sluice.domain.errors import UpstreamBadResponse

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_PLACE = ("type", "output_index", "content_index")
_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")


class WholeCharacters:
    """Of one answer's events, chat completions or the Responses API's: half of a character at the
    end of a text waits for the other in the next one. Raises UpstreamBadResponse for a half that
    has no other.
    """

    def __init__(self) -> None:
        self._halves: dict[tuple[object, ...], str] = {}

    def of(self, data: bytes) -> bytes:
        if not _HALF.search(data):
            return data
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            return data
        changed = False
        for where, holder, name in _texts_in(event):
            whole = self._joined((*where, name), holder[name])
            changed |= whole != holder[name]
            holder[name] = whole
        return json.dumps(event).encode() if changed else data

    def left(self) -> UpstreamBadResponse | None:
        """At the end: what a half that still waits means."""
        return UpstreamBadResponse("a lone surrogate") if self._halves else None

    def _joined(self, where: tuple[object, ...], text: str) -> str:
        text = self._halves.pop(where, "") + text
        if "\ud800" <= text[-1:] <= "\udbff":
            self._halves[where], text = text[-1], text[:-1]
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError as error:
            raise UpstreamBadResponse("a lone surrogate") from error


def _texts_in(event: Any) -> Iterator[tuple[tuple[object, ...], dict[str, Any], str]]:
    """Where each text belongs, what holds it, and its name there."""
    if not isinstance(event, dict):
        return
    if isinstance(event.get("delta"), str):
        yield tuple(map(event.get, _PLACE)), event, "delta"
    for choice in _dicts(event.get("choices")):
        for delta in _dicts([choice.get("delta")]):
            index = choice.get("index")
            yield from (
                ((index,), delta, name) for name in _TEXTS if isinstance(delta.get(name), str)
            )
            for call in _dicts(delta.get("tool_calls")):
                for function in _dicts([call.get("function")]):
                    if isinstance(function.get("arguments"), str):
                        yield (index, call.get("index")), function, "arguments"


def _dicts(values: object) -> Iterator[dict[str, Any]]:
    if isinstance(values, list):
        yield from (value for value in values if isinstance(value, dict))
