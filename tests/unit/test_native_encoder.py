"""The wire form: any text is one event and reads back the same, and readers behind lose nothing."""

import json
import re
from hashlib import sha256

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluice.application.codec import decode, encode, event_of, require_encodable
from sluice.application.compact_json import compact
from sluice.domain.events import (
    Cancelled,
    Cursor,
    Data,
    Done,
    Event,
    Failed,
    NeedsInput,
    Recorded,
    Reset,
    StageCompleted,
    StageFailed,
    StageStarted,
    Token,
    Usage,
)
from sluice.interfaces.protocols.native.encoder import KEEPALIVE, data_of, frame
from tests.frames import parsed
from tests.strategies import CURSOR, EVENT, TEXT

FRAME = re.compile(
    rb"event: (stage|token|tool|reasoning|data|needs_input|reset|done|error|cancelled)\n"
    rb"id: ([1-9][0-9]*)-([1-9][0-9]*)\n"
    rb"data: (\{[^\r\n]*\})\n\n"
)


@given(EVENT, CURSOR)
@example(Token("\r\n\r\ndata: x\n\nevent: done\n\n", "\x00\u2028"), Cursor(1, 1))
def test_any_event_is_exactly_one_sse_event_and_reads_back_the_same(
    event: Event, cursor: Cursor
) -> None:
    (read,) = parsed(frame(Recorded(cursor, event)))
    assert read.id == str(cursor)
    assert decode(read.event, read.data) == event


@given(EVENT, CURSOR)
def test_a_frame_has_the_grammar_of_the_contract(event: Event, cursor: Cursor) -> None:
    match = FRAME.fullmatch(frame(Recorded(cursor, event)))
    assert match is not None
    assert (int(match[2]), int(match[3])) == cursor
    data = json.loads(match[4])
    compact = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in ("\u2028", "\u2029", "\u0085"):
        compact = compact.replace(character, f"\\u{ord(character):04x}")
    assert match[4].decode() == compact


@given(st.lists(EVENT, max_size=5))
def test_frames_stand_side_by_side_without_touching(events: list[Event]) -> None:
    frames = [frame(Recorded(Cursor(1, n), event)) for n, event in enumerate(events, 1)]
    read = parsed(KEEPALIVE.join([b"", *frames, b""]))
    told = [decode(one.event, one.data) for one in read if one.event != "keepalive"]
    assert told == events
    assert len(read) == 2 * len(events) + 1


@given(EVENT)
def test_what_is_encoded_decodes_from_text_and_from_bytes(event: Event) -> None:
    name, data = encode(event)
    assert decode(name, data) == decode(name, data.encode()) == event


def test_the_example_of_the_contract_is_reproduced_byte_for_byte() -> None:
    token = frame(Recorded(Cursor(1, 17), Token("무색 페트병은", "answer")))
    expected = 'event: token\nid: 1-17\ndata: {"content":"무색 페트병은","node":"answer"}\n\n'
    assert token == expected.encode()


def test_a_keepalive_is_an_event_without_an_id() -> None:
    (read,) = parsed(KEEPALIVE)
    assert (read.event, read.data, read.id) == ("keepalive", "{}", "")


def test_a_name_that_is_not_in_the_list_is_refused() -> None:
    with pytest.raises(ValueError, match="no such event"):
        decode("keepalive", "{}")


def test_a_lone_surrogate_never_becomes_a_frame() -> None:
    with pytest.raises(UnicodeEncodeError):
        frame(Recorded(Cursor(1, 1), Token("\ud800", "answer")))


FAILED = Failed("internal", "-", retryable=True, request_id="r")
ENCODED: dict[str, Event] = {
    '{"stage":"a","status":"started","progress":5}': StageStarted("a", 5),
    '{"stage":"a","status":"completed","progress":9,"message":"m"}': StageCompleted("a", 9, "m"),
    '{"stage":"a","status":"failed","progress":0}': StageFailed("a", 0),
    '{"reason":"revised"}': Reset("revised"),
    '{"status":"cancelled","reason":"user"}': Cancelled("user"),
    '{"status":"failed","code":"internal","message":"-","retryable":true,"request_id":"r"}': FAILED,
}


@pytest.mark.parametrize("data", ENCODED)
def test_fields_stand_in_the_order_of_the_contract(data: str) -> None:
    assert compact(data_of(ENCODED[data])) == data


def test_done_says_everything_in_the_order_of_the_contract() -> None:
    done = Done("A2", "a", "greeting", "stop", Usage(1, 2, 3), offline_model=True, hint="why")
    fields = data_of(done)
    assert list(fields) == [
        "status", "path", "answer", "intent", "finish_reason", "usage", "length", "sha256",
        "offline_model", "hint",
    ]  # fmt: skip
    assert fields["status"] == "completed"
    assert fields["usage"] == {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}


def test_done_leaves_out_what_it_does_not_know_but_for_the_finish_reason() -> None:
    fields = data_of(Done("A1", "a"))
    assert list(fields) == ["status", "path", "answer", "finish_reason", "length", "sha256"]
    assert fields["finish_reason"] is None


@given(TEXT)
@example("e\u0301👩‍👩‍👧‍👦\u1106\u116e")
def test_done_counts_code_points_and_hashes_the_utf8_of_the_answer(answer: str) -> None:
    fields = data_of(Done("A2", answer))
    assert fields["length"] == len(answer)
    assert fields["sha256"] == sha256(answer.encode()).hexdigest()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_cannot_say_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        compact({"number": number})


def test_an_event_of_a_newer_version_is_read_without_what_was_added() -> None:
    fields = {"content": "a", "node": "x", "status": "new", "added": 1}
    assert event_of("token", fields) == Token("a", "x")
    assert event_of("reset", {"reason": "revised", "status": "new"}) == Reset("revised")


@pytest.mark.parametrize(
    "event",
    [Token("a\ud800", "x"), Token("a", "\ud800"), StageStarted("\ud800", 0), Done("A2", "\ud800")],
)
def test_an_event_with_a_lone_surrogate_cannot_be_written(event: Event) -> None:
    with pytest.raises(UnicodeEncodeError):
        require_encodable(event)


@pytest.mark.parametrize(
    "event",
    [
        Token("페트", "x"),
        Token("a", "노드"),
        Done("A2", "👩"),
        Data("카드", {"값": [1]}, "x"),
        NeedsInput("x", "누구?", "text", "2026-12-01T00:00:00Z"),
    ],
)
def test_any_other_text_can(event: Event) -> None:
    require_encodable(event)
