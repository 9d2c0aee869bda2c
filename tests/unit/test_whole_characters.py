"""Users' clients get whole characters, wherever a server has cut one in halves."""

import json
from typing import Any

import pytest

from sluice.infrastructure.openai_sdk.characters import WholeCharacters


def said(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta}]}


def called(arguments: str) -> dict[str, Any]:
    return said(tool_calls=[{"index": 0, "function": {"arguments": arguments}}])


def responded(text: str) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "output_index": 0, "delta": text}


def through(*events: object) -> list[Any]:
    characters = WholeCharacters()
    whole = [json.loads(characters.of(json.dumps(event).encode())) for event in events]
    assert characters.left() is None
    return whole


@pytest.mark.parametrize(
    "say",
    [
        responded,
        called,
        lambda text: said(content=text),
        lambda text: said(refusal=text),
        lambda text: said(reasoning_content=text),
    ],
)
def test_half_a_character_waits_for_the_other(say: Any) -> None:
    between: dict[str, Any] = {"choices": [], "usage": None}
    told = through(say("a\ud83d"), between, say("\ude00b\ud83d"), say("\ude00"))
    assert told == [say("a"), between, say("😀b"), say("😀")]


def test_halves_of_several_texts_do_not_meet() -> None:
    told = through(
        said(content="a\ud83d"), called("\ud83d"), said(content="\ude00"), called("\ude01")
    )
    assert told == [said(content="a"), called(""), said(content="😀"), called("😁")]


@pytest.mark.parametrize(
    "data",
    [
        json.dumps(said(content="😀")).encode(),
        b'{"choices": [{"delta": {"content": "\\ud83d',
        b'["\\ud83d"]',
        b'{"choices": ["\\ud83d", {"delta": "\\ud83d"}]}',
    ],
)
def test_what_is_whole_or_not_understood_stays_as_it_is(data: bytes) -> None:
    assert WholeCharacters().of(data) is data
