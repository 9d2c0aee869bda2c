"""What an answer in one piece says, whatever shape it has."""

from types import SimpleNamespace as Of
from typing import Any

import pytest

from sluice.infrastructure.openai_sdk.whole_answers import Said, said_in


def message(content: Any = None, **more: Any) -> Any:
    return Of(message=Of(content=content, **more))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Of(choices=[message("a")]), Said("a", "")),
        (Of(choices=[message("a"), message("b"), message(3)]), Said("ab", "")),
        (Of(choices=[message("a", reasoning_content="hm")]), Said("a", "hm")),
        (Of(choices=[message("a", reasoning="hm")]), Said("a", "hm")),
        (Of(choices=[message("a", reasoning_content="", reasoning="hm")]), Said("a", "hm")),
        (Of(choices=[message("a"), message("b", reasoning="hm")]), Said("ab", "")),
        (Of(choices=[Of(), message("b")]), Said("b", "")),
        (Of(choices=[]), Said("", "")),
        (Of(choices="a"), Said("", "")),
        (Of(), Said("", "")),
    ],
)
def test_a_chat_completion_says_its_choices_texts_and_the_firsts_thoughts(
    answer: Any, said: Said
) -> None:
    assert said_in(answer, responses=False) == said


def texts(*pieces: Any) -> list[Any]:
    return [Of(text=piece) for piece in pieces]


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([Of(type="message", content=texts("a", 3, "b"))], Said("ab", "")),
        (
            [Of(content=texts("a")), Of(type="function_call"), Of(content=texts("b"))],
            Said("ab", ""),
        ),
        ([Of(type="reasoning", summary=texts("h", "m"))], Said("", "hm")),
        ([Of(type="reasoning", summary=[], content=texts("so"))], Said("", "so")),
        ([Of(type="reasoning", summary=texts("hm"), content=texts("so"))], Said("", "hm")),
        (
            [Of(type="reasoning", summary=texts("1")), Of(type="reasoning", content=texts("2"))],
            Said("", "12"),
        ),
        ([Of(type="message", summary=texts("hm"), content="a")], Said("", "")),
    ],
)
def test_a_response_says_its_items_texts_and_its_thoughts_summaries(items: Any, said: Said) -> None:
    assert said_in(Of(output=items), responses=True) == said
    assert said_in(Of(choices=items), responses=True) == Said("", "")
