"""Reads of a user's answer that are the last one but for their text: as if decoded as a whole."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from openai.types.chat import ChatCompletionChunk
from pytest_mock import MockerFixture

from sluice.domain.errors import AnswerTooLarge
from sluice.infrastructure.openai_sdk import events
from sluice.infrastructure.openai_sdk.answers import StreamedAnswer, UserCall
from sluice.infrastructure.openai_sdk.chunks import Chunks, Dicts, OneText
from tests.doubles import RecordingTeller

from .test_decoding_alike import OTHERS, event, reads, says

REQUEST = httpx2.Request("POST", "http://x")
HALVES = [event(says(text), ascii_only=True) for text in ("a\ud83d", "\ude42b", "\ud83d\ude42")]


class Asked:
    def __init__(self, chunks: type[Chunks] = OneText, max_answer: int = 2**20) -> None:
        self.teller = RecordingTeller()
        self.call = UserCall(self.teller, responses=False, chunks=chunks, max_answer=max_answer)
        stream: Any = SimpleNamespace(
            response=httpx2.Response(200, request=REQUEST),
            _client=SimpleNamespace(_process_response_data=lambda data, **_: data),
            _cast_to=ChatCompletionChunk,
        )
        self.answer = StreamedAnswer(self.call, stream)


def outcome(reads: Sequence[bytes], how: str, chunks: type[Chunks] = OneText) -> object:
    """All that comes of it: chunks, what was told, what was counted, and how it is judged."""
    asked, given, error = Asked(chunks), list[Any](), ""
    try:
        for read in reads:
            given += getattr(asked.answer, how)(read)
            given.append((asked.answer.said, asked.answer.finished, asked.answer.done))
        given += asked.answer.end()
    except (openai.OpenAIError, ValueError) as failure:
        error = type(failure).__name__
    asked.answer.close()
    return [*map(str, given)], asked.teller.said, asked.teller.ends, error


@given(reads)
def test_whatever_comes_it_is_taken_as_if_as_a_whole(reads: list[bytes]) -> None:
    for chunks in (OneText, Dicts):
        assert outcome(reads, "take", chunks) == outcome(reads, "feed", chunks)


@pytest.mark.parametrize("other", [*OTHERS, *HALVES])
@pytest.mark.parametrize("text", ["a", '"', "\\", "가나 ", "🙂"])
def test_behind_a_text_and_before_one(other: bytes, text: str) -> None:
    three = [event(says("a")), event(says(text)), event(says("b"))]
    for all_reads in (
        [*three, other, *three],
        [other, *three],
        [*three, *[other] * 4, *three],
        [*three, other[:9], other[9:], *three],
        [*three, *HALVES[:2], *three],
    ):
        assert outcome(all_reads, "take") == outcome(all_reads, "feed")


def test_what_is_alike_is_not_decoded_as_a_whole(mocker: MockerFixture) -> None:
    asked, decoded = Asked(), mocker.spy(events, "chunk_of")
    for text in ("a", "b", "c", "가", 'with "quotes"\n', "\\"):
        assert list(asked.answer.take(event(says(text)))) == []
    assert decoded.call_count == 1
    assert asked.teller.said == ["a", "b", "c", "가", 'with "quotes"\n', "\\"]
    [whole] = asked.answer._chunks.left()
    assert whole["choices"][0]["delta"]["content"] == "".join(asked.teller.said)


def test_it_is_refused_beyond_the_bound_of_an_answer() -> None:
    asked = Asked(max_answer=7)
    for text in ("a", "bc", "가", "d"):
        assert list(asked.answer.take(event(says(text)))) == []
    with pytest.raises(AnswerTooLarge):
        asked.answer.take(event(says("e")))
