"""Users' clients get whole characters, wherever a server has cut one in halves."""

import json
from typing import Any

import pytest

from sluice.infrastructure.openai_sdk.characters import WholeCharacters


def said(index: int = 0, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta}]}


def called(arguments: str, index: int = 0) -> dict[str, Any]:
    return said(tool_calls=[{"index": index, "function": {"arguments": arguments}}])


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
    ("first", "second", "whole"),
    [("\ud800", "\udc00", "\U00010000"), ("\udbff", "\udfff", "\U0010ffff")],
)
def test_the_first_and_the_last_of_all_characters_in_halves_are_joined(
    first: str, second: str, whole: str
) -> None:
    assert through(responded(first), responded(second)) == [responded(""), responded(whole)]


def test_a_text_that_is_whole_beside_a_half_stays_as_it_is() -> None:
    told = through(said(content="a\ud83d", refusal="b"), said(content="\ude00"))
    assert told == [said(content="a", refusal="b"), said(content="😀")]


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


def test_a_half_that_is_left_is_given_once_and_to_the_byte() -> None:
    characters = WholeCharacters()
    first, second = (b'{"type":"t","delta":"%s\\ud83d"}' % text for text in (b"a", b"b"))
    assert characters.of(first) == ()
    assert characters.of(second) == (first,)
    assert characters.left() == (second,)
    assert characters.left() == ()


@pytest.mark.parametrize(
    "say",
    [lambda text, index: said(index, content=text), lambda text, index: called(text, index)],
    ids=["choice", "call"],
)
def test_halves_of_two_choices_or_calls_are_not_joined(say: Any) -> None:
    events = say("a\ud83d", 0), say("\ude00", 1)
    assert through(*events) == list(events)
