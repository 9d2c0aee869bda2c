"""Chooses among names by what a message says: members of an enum, tools."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .language import features, normal, says

_CUES = r"^[ \t]*[-*][ \t]*[`\"']?{name}[`\"']?[ \t]*:[ \t]*(.+)$"
_DEFAULT = re.compile(
    r"^[ \t]*default:[ \t]*[`\"']?([\w -]+?)[`\"']?[ \t]*$", re.MULTILINE | re.IGNORECASE
)
_WELL = 2
_ENOUGH = 2000
"""Characters of a message that tell what it is about; a long one must not hold up the loop."""


def members_that_fit(message: str, members: Sequence[Any], guide: str) -> list[Any]:
    """Those the message has a cue of, in their order; else the guide's default, else the first.

    The guide is prompt text that may have lines `- name: cue, cue` and `default: name`.
    """
    scores = [_fit(message, str(member), guide) for member in members]
    fitting = [member for member, score in zip(members, scores, strict=True) if score]
    return fitting or [_default(members, guide)]


def best_member(message: str, members: Sequence[Any], guide: str) -> Any:
    fitting = members_that_fit(message, members, guide)
    return max(fitting, key=lambda member: _fit(message, str(member), guide))


def _fit(message: str, name: str, guide: str) -> float:
    """A cue or a word of the name counts one, a phrase a little more."""
    line = re.search(_CUES.format(name=re.escape(name)), guide, re.MULTILINE)
    cues = {normal(cue).strip() for cue in line[1].split(",")} if line else set()
    cues |= {word for word in re.split(r"[\W_]+", normal(name)) if len(word) > 2}
    return sum(1 + 0.25 * cue.count(" ") for cue in cues if says(message[:_ENOUGH], cue))


def _default(members: Sequence[Any], guide: str) -> Any:
    named = _DEFAULT.search(guide)
    return next((m for m in members if named and str(m) == named[1]), members[0])


def best_tool(
    message: str, functions: Sequence[Mapping[str, Any]], *, required: bool
) -> Mapping[str, Any] | None:
    """The function that fits best; unless one is required, only if it fits well."""
    best = max(functions, key=lambda function: _tool_fit(message, function), default=None)
    if best is None or (not required and _tool_fit(message, best) < _WELL):
        return None
    return best


def _tool_fit(message: str, function: Mapping[str, Any]) -> int:
    """A word of the name counts two, as does a pair of Korean letters; other words one."""
    asked = features(message[:_ENOUGH])
    named = features(re.sub(r"[_-]+|(?<=[a-z])(?=[A-Z])", " ", str(function.get("name", ""))))
    described = features(str(function.get("description") or "")) - named
    shared = asked & described
    korean = sum(not word.isascii() for word in shared)
    return 2 * len(asked & named) + len(shared) + korean
