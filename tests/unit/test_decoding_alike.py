"""A read that is the last one but for its text: the same delta as if decoded as a whole."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_mock import MockerFixture

from sluice.domain.errors import ChatError
from sluice.infrastructure.llm import alike, decoding
from sluice.infrastructure.llm.alike import AlikeReads
from sluice.infrastructure.llm.decoding import Delta, DeltaDecoder
from tests.strategies import SAID


def event(chunk: object, *, ascii_only: bool = False, dense: bool = True) -> bytes:
    separators = (",", ":") if dense else None
    return b"data: %b\n\n" % json.dumps(
        chunk, ensure_ascii=ascii_only, separators=separators
    ).encode("utf-8", "surrogatepass")


def says(text: str, **more: object) -> object:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    return {"id": "x", "model": "a", "choices": [choice], **more}


Heard = tuple[list[Delta], str]


def by_either(reads: Sequence[bytes]) -> Heard:
    """As a call takes them: by its text alone where it can be."""
    decoder, heard = DeltaDecoder(), list[Delta]()
    try:
        for read in reads:
            if text := decoder.text_in(read):
                heard.append(Delta(text))
            else:
                heard += decoder.feed(read)
        heard += decoder.end()
        decoder.check()
    except ChatError as error:
        return heard, error.code
    return heard, ""


def as_a_whole(reads: Sequence[bytes]) -> Heard:
    decoder, heard = DeltaDecoder(), list[Delta]()
    try:
        for read in reads:
            heard.extend(decoder.feed(read))
        heard += decoder.end()
        decoder.check()
    except ChatError as error:
        return heard, error.code
    return heard, ""


STOP = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
OTHERS = [
    event(STOP),
    event({"choices": [{"delta": {"content": "a"}, "finish_reason": "length"}]}),
    event(says("a", usage={"prompt_tokens": 1, "completion_tokens": 2})),
    event(says("a", error={"message": "no"})),
    event({"choices": [{"message": {"content": "a"}}]}),
    event({"choices": [{"delta": {"reasoning_content": "a"}}]}),
    event({"choices": [{"delta": {"content": "a", "content ": "a"}}]}),
    event(says("a"), dense=False),
    event(says("a"))[:-2] + b"\r\n\r\n",
    event(says("a")).replace(b'"a"}', b'"\xff"}'),
    event(says("\ud83d"), ascii_only=True),
    event(says("a")).replace(b"}\n\n", b"\n\n"),
    event(says("a")).replace(b'{"content":"a"}', b'{"content":"b","content":"a"}'),
    event(says("a")).replace(b'"a"}', b'"a","role":"a"}'),
    event(says("a")).replace(b'"content"', b'"nothing"'),
    event(says("a")).replace(b'"finish_reason":null', b'"finish_reason":"ok"'),
    event(says("a")).replace(b'"a"}', b'"tab\there"}'),
    b": ping\n\n",
    b": ping\n",
    b"data: [DONE]\n\n",
    event(says("a"))[:40],
    event(says("a"))[40:],
    event(says("a")) + event(says("b")),
]
reads = st.lists(
    st.builds(
        lambda text, ascii_only: event(says(text), ascii_only=ascii_only), SAID, st.booleans()
    )
    | st.sampled_from(OTHERS),
    max_size=12,
)


@given(reads)
def test_whatever_comes_it_is_decoded_as_if_as_a_whole(reads: list[bytes]) -> None:
    assert by_either(reads) == as_a_whole(reads)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("text", ["a", ":", ",", "\n", '"', "\\", "가나 ", "🙂", "\x00"])
def test_behind_a_text_and_before_one(other: bytes, text: str) -> None:
    three = [event(says("a")), event(says(text)), event(says("b"))]
    for reads in (
        [*three, other, *three],
        [other, *three],
        [*three, *[other] * 4, *three],
        [*three, other[:9], other[9:], *three],
    ):
        assert by_either(reads) == as_a_whole(reads)


def test_what_is_alike_is_not_decoded_as_a_whole(mocker: MockerFixture) -> None:
    decoder = DeltaDecoder()
    for text in ("a", "b"):
        assert [*decoder.feed(event(says(text)))] == [Delta(text)]
    chunks = mocker.spy(decoding, "chunk_of")
    for text in ("c", "가", 'with "quotes"\n', "\\"):
        assert decoder.text_in(event(says(text))) == text
    assert not chunks.called
    assert not decoder.text_in(event(says("")))
    assert not decoder.text_in(event(STOP))


def test_behind_another_read_it_is_learnt_anew() -> None:
    decoder = DeltaDecoder()
    for text in ("a", "b"):
        assert [*decoder.feed(event(says(text)))] == [Delta(text)]
    for number in range(4):
        assert decoder.text_in(event(says("c"))) == "c"
        assert [*decoder.feed(event(says("d", n=number)))] == [Delta("d")]
        assert [*decoder.feed(event(says("e")))] == [Delta("e")]


def test_a_text_that_stands_before_itself_too_is_found() -> None:
    decoder = DeltaDecoder()
    for text in ("a", "x"):
        assert [*decoder.feed(event(says(text)))] == [Delta(text)]
    assert decoder.text_in(event(says("c"))) == "c"


def test_where_a_text_stands_is_not_guessed() -> None:
    """The model, named behind it, is called like the text."""
    decoder = DeltaDecoder()
    for _ in range(4):
        assert not decoder.text_in(event(says("a", name="a")))
        assert [*decoder.feed(event(says("a", name="a")))] == [Delta("a")]
    assert not decoder.text_in(event(says("a", name="b")))


def test_chunks_that_are_never_alike_are_soon_decoded_as_ever(mocker: MockerFixture) -> None:
    decoder = DeltaDecoder()
    tries = mocker.spy(alike, "chunk_of")
    for number in range(20):
        read = event(says("b", obfuscation="x" * number))
        assert not decoder.text_in(read)
        assert [*decoder.feed(read)] == [Delta("b")]
    assert tries.call_count == 3


def test_whoever_asks_for_more_tries(mocker: MockerFixture) -> None:
    reads = AlikeReads()
    tries = mocker.spy(alike, "chunk_of")
    for number in range(5):
        read = event(says("b", obfuscation="x" * number))
        assert not reads.text_in(read)
        reads.learn(read, read[6:-2], "b")
    assert tries.call_count == 3
