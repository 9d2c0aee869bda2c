"""What is read of a chunk: its usage, its words, its thoughts, a function's arguments."""

import json
from typing import Any

import pytest

from sluice.domain.errors import UpstreamBadResponse
from sluice.domain.events import Usage
from sluice.infrastructure.llm.chunks import (
    Chunk,
    Function,
    arguments_of,
    loose_chunk_of,
    said_in,
    text_and_thought,
    usage_of,
    words_in,
)

COUNTED = {"prompt_tokens": 2, "completion_tokens": 3}


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({**COUNTED, "total_tokens": 9}, Usage(2, 3, 9)),
        (COUNTED, Usage(2, 3, 5)),
        ({**COUNTED, "total_tokens": None}, Usage(2, 3, 5)),
        ({"prompt_tokens": 2}, None),
        ({"completion_tokens": 2}, None),
        ({"prompt_tokens": "2", "completion_tokens": 3}, None),
        ([2, 3], None),
        ({"prompt_tokens": -1, "completion_tokens": 3}, None),
        ({"prompt_tokens": 2, "completion_tokens": 2**53}, None),
        ({**COUNTED, "total_tokens": -1}, Usage(2, 3, 5)),
        ({**COUNTED, "total_tokens": 2**64}, Usage(2, 3, 5)),
    ],
)
def test_a_total_is_believed_and_else_summed_up(usage: object, counted: Usage | None) -> None:
    assert usage_of(usage) == counted


@pytest.mark.parametrize(
    ("given", "text"), [(None, ""), ("", ""), ("{", "{"), ({"a": [1]}, '{"a": [1]}')]
)
def test_arguments_are_a_text_whatever_form_they_come_in(given: Any, text: str) -> None:
    assert arguments_of(Function(arguments=given)) == text


@pytest.mark.parametrize(
    ("parts", "text", "thought"),
    [
        ([{"type": "text", "text": "a"}, {"type": "output_text", "text": "b"}], "ab", ""),
        (["a", "b"], "ab", ""),
        ([{"type": "refusal", "refusal": "No."}], "No.", ""),
        (
            [
                {"type": "thinking", "thinking": "a"},
                {"type": "reasoning", "text": "b"},
                {"type": "reasoning_text", "text": "c"},
                {"type": "summary_text", "text": "d"},
            ],
            "",
            "abcd",
        ),
        ([{"type": "text", "text": 1}, {"type": "image"}], "", ""),
    ],
)
def test_parts_of_a_content_are_told_or_thought_by_their_type(
    parts: list[object], text: str, thought: str
) -> None:
    assert text_and_thought(parts) == (text, thought)


@pytest.mark.parametrize("part", [{"text": "a"}, 1, None, {"type": 1}])
def test_a_part_without_a_type_is_no_part(part: object) -> None:
    with pytest.raises(UpstreamBadResponse):
        text_and_thought([part])


@pytest.mark.parametrize(
    "name", ["text", "thinking", "reasoning", "reasoning_text", "summary", "content"]
)
def test_the_words_of_a_part_are_found_under_every_name(name: str) -> None:
    assert words_in({name: "hm"}) == "hm"
    assert words_in([{name: [{"type": "text", "text": "h"}, "m"]}, 1, None]) == "hm"


@pytest.mark.parametrize("value", [1, None, {}, {"other": "hm"}, [], {"text": ""}])
def test_what_holds_no_words_has_none(value: object) -> None:
    assert words_in(value) == ""


@pytest.mark.parametrize("escaped", [True, False])
def test_a_chunk_may_end_with_half_a_character_escaped_or_not(escaped: bool) -> None:
    told = json.dumps({"choices": [{"delta": {"content": "a\ud83d"}}]}, ensure_ascii=escaped)
    chunk = loose_chunk_of(told.encode(errors="surrogatepass"))
    assert chunk is not None
    assert chunk.choices is not None
    assert said_in(chunk.choices[0]).content == "a\ud83d"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"choices":1}', b"[" * 100_000])
def test_what_is_no_chunk_in_any_way_is_none(data: bytes) -> None:
    assert loose_chunk_of(data) is None


def test_an_object_without_choices_is_a_chunk_that_says_nothing() -> None:
    assert loose_chunk_of(b"{}") == Chunk()
