"""Users' clients get whole characters, wherever a server has cut one in halves."""

import json
from typing import Any

import pytest

from sluice.domain.errors import UpstreamBadResponse
from sluice.infrastructure.openai_sdk.characters import WholeCharacters


def said(index: int = 0, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta}]}


def called(arguments: str, index: int = 0) -> dict[str, Any]:
    return said(tool_calls=[{"index": index, "function": {"arguments": arguments}}])


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
    told = through(say("a\ud83d"), between, say("\ude00b\ud83d"), say("\ude00c"))
    assert told == [say("a"), between, say("😀b"), say("😀c")]


@pytest.mark.parametrize(
    ("first", "second", "whole"),
    [("\ud800", "\udc00", "\U00010000"), ("\udbff", "\udfff", "\U0010ffff")],
)
def test_the_first_and_the_last_of_all_characters_in_halves_are_joined(
    first: str, second: str, whole: str
) -> None:
    assert through(responded(first), responded(second)) == [responded(""), responded(whole)]


def test_a_half_without_the_other_is_no_answer() -> None:
    characters = WholeCharacters()
    characters.of(json.dumps(said(content="\ud83d")).encode())
    assert isinstance(characters.left(), UpstreamBadResponse)


def test_a_text_that_is_whole_beside_a_half_stays_as_it_is() -> None:
    told = through(said(content="a\ud83d", refusal="b"), said(content="\ude00"))
    assert told == [said(content="a", refusal="b"), said(content="😀")]


def test_halves_of_several_texts_do_not_meet() -> None:
    told = through(
        said(content="a\ud83d"), called("\ud83d"), said(content="\ude00"), called("\ude01")
    )
    assert told == [said(content="a"), called(""), said(content="😀"), called("😁")]


@pytest.mark.parametrize("say", [lambda index, text: said(index, content=text),
                                 lambda index, text: called(text, index)])  # fmt: skip
def test_each_choice_and_each_call_has_its_own_halves(say: Any) -> None:
    told = through(say(0, "\ud83d"), say(1, "\ud83d"), say(1, "\ude01"), say(0, "\ude00"))
    assert told == [say(0, ""), say(1, ""), say(1, "😁"), say(0, "😀")]


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
