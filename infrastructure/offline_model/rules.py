"""What the offline model answers. Pure functions of the request's body."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PIECE = re.compile(r" ?[가-힣]{1,2}| ?[^\W\d_가-힣]{1,12}| ?\d{1,3}|\s+|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Answer:
    text: str


def answer(body: Mapping[str, Any]) -> Answer:
    return Answer("I am the offline model of Sluice.")


def pieces(text: str) -> list[str]:
    """The text in token-like pieces; joined they are the text."""
    return _PIECE.findall(text)


def prompt_tokens(body: Mapping[str, Any]) -> int:
    return sum(len(pieces(str(message.get("content")))) for message in body["messages"])
