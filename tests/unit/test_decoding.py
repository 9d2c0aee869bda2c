"""Bytes to deltas: the same ones wherever the reads end, and nothing that is not the protocol."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.domain.errors import (
    UpstreamAuth,
    UpstreamBadResponse,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamUnavailable,
)
from sluice.domain.events import Usage
from sluice.infrastructure.llm.decoding import Delta, DeltaDecoder, ToolCallPart
from sluice.infrastructure.llm.event_stream import EventSplitter

texts = st.text(st.characters(exclude_categories=["Cs"]))
line_ends = st.sampled_from(["\n", "\r\n", "\r"])


def chunk(delta: dict[str, Any], finish_reason: str | None = None, **fields: object) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return json.dumps({"choices": [choice], **fields}, ensure_ascii=False).encode()


def event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def deltas(*reads: bytes) -> list[Delta]:
    decoder = DeltaDecoder()
    return [delta for read in reads for delta in decoder.feed(read)]


def of_chunk(data: bytes) -> list[Delta]:
    return deltas(event(data))


@st.composite
def split_bodies(draw: st.DrawFn) -> tuple[list[str], list[bytes]]:
    """Texts, and the reads in which they come, cut anywhere, with any line ends."""
    said = draw(st.lists(texts.filter(bool)))
    end = draw(line_ends)
    noise = draw(st.sampled_from(["", f": ping{end}", f"event: message{end}id: 1{end}", end]))
    field = draw(st.sampled_from(["data:", "data: "]))
    body = "".join(
        f"{noise}{field}{chunk({'content': text}).decode()}{end}{end}" for text in said
    ).encode()
    cuts = sorted(draw(st.sets(st.integers(0, len(body)))) | {0, len(body)})
    return said, [body[start:stop] for start, stop in pairwise(cuts)]


@given(split_bodies())
def test_any_split_of_any_text_gives_the_same_deltas(body: tuple[list[str], list[bytes]]) -> None:
    said, reads = body
    assert [delta.text for delta in deltas(*reads)] == said


@given(
    st.lists(st.binary(max_size=20).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"")))
)
def test_any_bytes_survive_one_byte_a_read(events: list[bytes]) -> None:
    splitter = EventSplitter()
    body = b"".join(map(event, events))
    assert [data for byte in body for data in splitter.feed(bytes((byte,)))] == events


@pytest.mark.parametrize("cut", range(5))
def test_a_byte_order_mark_is_no_part_of_the_first_event(cut: int) -> None:
    body = b"\xef\xbb\xbf" + event(chunk({"content": "Hello"})) + event(chunk({"content": "!"}))
    assert deltas(body[:cut], body[cut:]) == [Delta("Hello"), Delta("!")]


def test_data_of_several_lines_is_joined() -> None:
    assert list(EventSplitter().feed(b"data: {\ndata: }\n\n")) == [b"{\n}"]


def test_an_event_without_its_empty_line_is_none() -> None:
    assert list(EventSplitter().feed(b"data: a\n\ndata: b\n")) == [b"a"]


def test_what_is_said_before_a_broken_chunk_is_heard() -> None:
    heard = DeltaDecoder().feed(event(chunk({"content": "a"})) + event(b"{"))
    assert next(heard).text == "a"
    with pytest.raises(UpstreamBadResponse):
        next(heard)


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b'{"choices":[{"delta":{"content":"\xed\x95\xff"}}]}',
        b'{"choices":[{"delta":{"content":"\\ud800!"}}]}',
        b'{"choices":[{"delta":{"content":"\\udc00"}}]}',
        b'{"choices":[{"delta":{"content":"\\udc00\\ud83d"}}]}',
        b'{"choices":[{"delta":{"content":1.5}}]}',
        b'{"choices":[{"delta":{"content":true}}]}',
        b'{"choices":[{"delta":["a"]}]}',
        b'{"choices":[{"delta":{"content":[{"text":"a"}]}}]}',
        b'{"choices":[{"delta":"text"}]}',
        b'{"choices":["text"]}',
        b'{"choices":{"delta":{}}}',
        b'{"choices":[{"delta":{},"finish_reason":1}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":1}}]}}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"index":"0"}]}}]}',
        b'{"choices":[{"delta":{"tool_calls":"f"}}]}',
        b'{"choices":[{"delta":{"content":NaN}}]}',
    ],
)
def test_what_is_not_the_protocol_is_a_bad_response(data: bytes) -> None:
    with pytest.raises(UpstreamBadResponse):
        of_chunk(data)


@pytest.mark.parametrize("error", [{"message": "secret"}, "secret"])
def test_an_error_object_is_an_error(error: object) -> None:
    with pytest.raises(UpstreamError) as failed:
        of_chunk(json.dumps({"error": error}).encode())
    assert failed.type is UpstreamError
    assert "secret" not in repr(failed.value)


@pytest.mark.parametrize(
    "data",
    [
        b"[DONE]",
        b"{}",
        b'{"choices":[]}',
        b'{"choices":null,"usage":null,"error":null}',
        b'{"choices":[],"usage":{"prompt_tokens":"many"}}',
        b'{"choices":[],"usage":[1]}',
        chunk({}),
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": None, "refusal": None, "tool_calls": None}),
        chunk({"reasoning_content": "", "reasoning": None}),
        chunk({"tool_calls": [{"index": 3, "function": {"arguments": ""}}]}),
        chunk({"content": [{"type": "image"}, {"type": "text", "text": ""}]}),
        b"",
        b" ",
        b"[DONE] ",
        b'{"type":"ping"}',
        b'{"status":"ok","detail":"x"}',
        b'{"choices":[{"index":0,"delta":null,"finish_reason":null}]}',
        b'{"choices":[{"index":0,"delta":{},"finish_reason":""}]}',
        b'{"choices":[{"index":0,"delta":[],"finish_reason":null}]}',
        b'{"choices":[{"index":0,"text":""}]}',
        b'{"choices":[],"x_groq":{"id":"r"}}',
        b'{"choices":null,"base_resp":{"status_code":0,"status_msg":"success"}}',
        chunk({}, "null"),
        chunk({}, "None"),
        chunk({}, "FINISH_REASON_UNSPECIFIED"),
    ],
)
def test_what_says_nothing_gives_nothing(data: bytes) -> None:
    assert of_chunk(data) == []


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (-7, "-7"), (2**70, str(2**70))])
def test_a_number_is_text(number: int, text: str) -> None:
    assert of_chunk(chunk({"content": number})) == [Delta(text)]


@pytest.mark.parametrize("reason", [None, "stop"])
def test_the_text_of_a_completion_is_text_where_no_delta_is(reason: str | None) -> None:
    said = {"choices": [{"text": "a", "finish_reason": reason}]}
    assert of_chunk(json.dumps(said).encode()) == [Delta("a", reason)]
    both = {"choices": [{"text": "a", "delta": {"content": "b"}}]}
    assert of_chunk(json.dumps(both).encode()) == [Delta("b")]


@pytest.mark.parametrize("reason", ["null", "NULL", "none", " ", "undefined", "unspecified"])
def test_what_stands_for_no_finish_reason_ends_nothing(reason: str) -> None:
    decoder = DeltaDecoder()
    assert list(decoder.feed(event(chunk({"content": "a"}, reason)))) == [Delta("a")]
    assert not decoder.finished


@pytest.mark.parametrize("reason", ["stop", "nonstop", "unknown", "null_pointer"])
def test_any_other_word_is_a_finish_reason(reason: str) -> None:
    decoder = DeltaDecoder()
    assert list(decoder.feed(event(chunk({}, reason)))) == [Delta("", reason)]
    assert decoder.finished


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"x_groq": {"id": "r", "error": "over capacity"}}, UpstreamUnavailable),
        ({"x_groq": {"error": {"code": 429}}}, UpstreamRateLimited),
        ({"base_resp": {"status_code": 1004, "status_msg": "login fail: API key"}}, UpstreamAuth),
    ],
)
def test_a_failure_may_stand_beside_the_choices(
    told: dict[str, Any], expected: type[UpstreamError]
) -> None:
    with pytest.raises(UpstreamError) as failed:
        of_chunk(json.dumps({"choices": None, **told}).encode())
    assert failed.type is expected


def test_a_tools_name_that_comes_again_is_no_other_piece_of_it() -> None:
    def piece(name: str | None, number: int = 0) -> bytes:
        call = {"index": number, "function": {"name": name, "arguments": "x"}}
        return event(chunk({"tool_calls": [call]}))

    def names(*pieces: bytes) -> list[str | None]:
        deltas = DeltaDecoder().feed(b"".join(pieces))
        return [part.name for delta in deltas for part in delta.tool_calls]

    assert names(piece("look"), piece("look"), piece(None), piece("look")) == [
        "look", None, None, None,
    ]  # fmt: skip
    assert names(piece("look"), piece("_up"), piece("look_up")) == ["look", "_up", None]
    assert names(piece("look"), piece("look", 1)) == ["look", "look"]


@pytest.mark.parametrize("nothing", [None, "", []])
def test_a_refusal_is_text_beside_no_content(nothing: object) -> None:
    assert of_chunk(chunk({"content": nothing, "refusal": "No."})) == [Delta("No.")]


def test_an_error_beside_the_choices_ends_an_answer_that_says_something_too() -> None:
    told = json.loads(chunk({"content": "a"}))
    with pytest.raises(UpstreamRateLimited):
        of_chunk(json.dumps({**told, "error": {"code": 429}}).encode())


def test_a_refusal_is_text() -> None:
    assert of_chunk(chunk({"content": None, "refusal": "No."})) == [Delta("No.")]


def test_a_chunk_may_say_everything_at_once() -> None:
    call = {"index": 1, "id": "c", "function": {"name": "f", "arguments": "{"}}
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    said = chunk({"content": "a", "tool_calls": [call]}, "stop", usage=usage)
    assert of_chunk(said) == [Delta("a", "stop", Usage(2, 3, 5), (ToolCallPart(1, "c", "f", "{"),))]


def test_a_text_may_bring_its_end_and_its_usage() -> None:
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
    assert of_chunk(chunk({"content": "a"}, "stop", usage=usage)) == [
        Delta("a", "stop", Usage(2, 3, 5))
    ]


@pytest.mark.parametrize(
    "name", ["reasoning_content", "reasoning", "thinking", "reasoning_details"]
)
def test_a_text_may_come_with_a_thought(name: str) -> None:
    assert of_chunk(chunk({"content": "a", name: "hm"})) == [Delta("a", reasoning="hm")]


def test_a_text_may_come_with_a_call_in_the_old_form() -> None:
    [delta] = of_chunk(chunk({"content": "a", "function_call": {"name": "f"}}))
    assert (delta.text, delta.tool_calls) == ("a", (ToolCallPart(0, None, "f", ""),))


@pytest.mark.parametrize(
    "thought",
    [
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"thinking": "hm"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
        {"content": [{"type": "reasoning", "text": "hm"}]},
    ],
)
def test_reasoning_is_told_apart(thought: dict[str, Any]) -> None:
    assert of_chunk(chunk(thought)) == [Delta(reasoning="hm")]


def test_the_text_parts_of_a_content_are_the_text() -> None:
    parts = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {}},
        "b",
        {"type": "refusal", "refusal": "c"},
    ]
    assert of_chunk(chunk({"content": parts})) == [Delta("abc", reasoning="hm")]


def test_arguments_may_be_an_object() -> None:
    call = {"function": {"name": "f", "arguments": {"a": [1]}}}
    [delta] = of_chunk(chunk({"tool_calls": [call]}))
    assert delta.tool_calls == (ToolCallPart(0, None, "f", '{"a": [1]}'),)
    assert of_chunk(chunk({"function_call": call["function"]})) == [delta]


def test_a_whole_message_as_an_event_is_the_text_if_it_is_all() -> None:
    message = {"choices": [{"message": {"content": "all"}, "finish_reason": "stop"}]}
    whole = event(json.dumps(message).encode())
    assert deltas(whole) == [Delta("all", "stop")]
    said = event(chunk({"content": "a"}))
    assert deltas(said, whole) == [Delta("a"), Delta(finish_reason="stop")]
    assert deltas(whole, whole) == [Delta("all", "stop"), Delta(finish_reason="stop")]
    parts = event(chunk({"content": ["a"]}))
    assert deltas(parts, event(chunk({})), whole) == [Delta("a"), Delta(finish_reason="stop")]


@pytest.mark.parametrize("field", ["content", "refusal", "reasoning_content"])
def test_halves_of_a_character_are_joined(field: str) -> None:
    pieces = ["a\ud83d", "\ude00\ud83c", "\uddf0", "b\ud800", "\udc00\udbff", "\udfff"]
    body = [
        event(json.dumps({"choices": [{"delta": {field: piece}}]}).encode()) for piece in pieces
    ]
    told = [delta.text or delta.reasoning for delta in deltas(*body)]
    assert told == ["a", "😀", "🇰", "b", "\U00010000", "\U0010ffff"]


def test_halves_are_joined_in_arguments_and_beside_other_deltas() -> None:
    def part(arguments: str) -> bytes:
        call = {"index": 0, "function": {"arguments": arguments}}
        return event(json.dumps({"choices": [{"delta": {"tool_calls": [call]}}]}).encode())

    told = deltas(part('{"a":"\ud83d'), event(chunk({"content": "said"})), part('\ude00"}'))
    arguments = [part.arguments for delta in told for part in delta.tool_calls]
    assert (arguments, told[1].text) == (['{"a":"', '😀"}'], "said")


def test_half_a_character_is_none() -> None:
    half = event(b'{"choices":[{"delta":{"content":"a\\ud83d"}}]}')
    decoder = DeltaDecoder()
    assert [delta.text for delta in decoder.feed(half)] == ["a"]
    with pytest.raises(UpstreamBadResponse):
        decoder.check()
    with pytest.raises(UpstreamBadResponse):
        list(decoder.feed(event(chunk({"content": "b"}))))


@pytest.mark.parametrize("rubbish", [b"{", b"\xff", b"[]", b'{"choices":"none"}'])
def test_rubbish_behind_a_finish_reason_is_nobodys_loss_until_more_is_said(rubbish: bytes) -> None:
    decoder = DeltaDecoder()
    body = event(chunk({"content": "a"}, "stop")) + event(rubbish)
    usage = event(b'{"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":3}}')
    assert list(decoder.feed(body + usage)) == [Delta("a", "stop"), Delta(usage=Usage(2, 3, 5))]
    with pytest.raises(UpstreamBadResponse):
        list(decoder.feed(event(chunk({"content": "b"}))))


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (b"data: " + chunk({}, "stop"), [Delta(finish_reason="stop")]),
        (b"data: " + chunk({}, "stop") + b"\r", [Delta(finish_reason="stop")]),
        (b"data: " + chunk({}, "stop")[:-9], []),
        (b"data: [DON", []),
        (b"", []),
    ],
)
def test_a_last_event_without_its_empty_line_counts_if_it_is_whole(
    last: bytes, told: list[Delta]
) -> None:
    decoder = DeltaDecoder()
    assert [*decoder.feed(event(chunk({"content": "a"})) + last), *decoder.end()][1:] == told


@pytest.mark.parametrize(
    "done", [b"data: [DONE]\n\n", b"data:[DONE]\n\n", b"data: [DONE]", b"data: [DONE]  \n\n"]
)
def test_the_decoder_knows_that_nothing_will_follow(done: bytes) -> None:
    decoder = DeltaDecoder()
    assert not decoder.done
    assert [*decoder.feed(done), *decoder.end()] == []
    assert decoder.done


def test_the_decoder_knows_when_the_answer_is_complete() -> None:
    decoder = DeltaDecoder()
    list(decoder.feed(event(chunk({"content": "a"}))))
    assert not decoder.finished
    list(decoder.feed(event(chunk({}, "stop"))))
    assert decoder.finished


def test_nothing_is_said_behind_the_end() -> None:
    decoder = DeltaDecoder()
    done, more = event(b"[DONE]"), event(chunk({"content": "b"}))
    told = [
        one
        for read in (event(chunk({"content": "a"}, "stop")), done, more, more, more + more)
        for one in decoder.feed(read)
    ]
    assert told == [Delta("a", "stop")]
    assert decoder.done
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    late = {"content": "b", "reasoning_content": "r", "tool_calls": [call]}
    assert [*decoder.feed(event(chunk(late, "length")))] == [Delta("", "length")]
    with pytest.raises(UpstreamError):
        list(decoder.feed(event(b'{"error": "overloaded"}')))
