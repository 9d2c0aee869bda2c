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
    whole = [each for event in events for each in characters.of(json.dumps(event).encode())]
    return [json.loads(each) for each in (*whole, *characters.left())]


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
    told = through(say("a\ud83d"), say("\ude00b\ud83d"), say("\ude00"), say("c"))
    assert told == [say("a"), say("😀b"), say("😀"), say("c")]


@pytest.mark.parametrize(
    "events",
    [
        [said(content="a\ud83d"), said(content="b")],
        [said(content="a\ud83d"), said(content="\ud83d"), said(content="b")],
        [said(content="a\ud83d"), called("\ude00")],
        [said(content="\ude00a"), said(content="b\ud83d")],
    ],
)
def test_a_half_without_another_stays_as_it_is(events: list[Any]) -> None:
    assert through(*events) == events


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
    assert WholeCharacters().of(data) == (data,)
