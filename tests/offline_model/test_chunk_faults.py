"""Every fault within a chunk does on the wire what its name says."""

import json

import pytest

from sluice.offline_model import CANARY, Fault, OfflineModel, Reply

from .socket_client import Seen, ask
from .strange_upstream import HALF, TEXT, seen


def whole_without(got: Seen, line: bytes) -> Seen:
    body = got.body.replace(b"data: " + line + b"\n\n", b"")
    assert body != got.body
    assert body.endswith(b"data: [DONE]\n\n")
    return Seen(body=body)


async def test_one_chunk_is_not_json(model: OfflineModel) -> None:
    got = await seen(model, Fault.MALFORMED_JSON)
    bad = got.lines[1 + 3]
    with pytest.raises(json.JSONDecodeError):
        json.loads(bad)
    assert CANARY.encode() in bad
    assert whole_without(got, bad).text == TEXT


async def test_one_chunk_is_not_utf8(model: OfflineModel) -> None:
    got = await seen(model, Fault.INVALID_UTF8)
    bad = got.lines[1 + 3]
    with pytest.raises(UnicodeDecodeError):
        bad.decode()
    assert whole_without(got, bad).text == TEXT


async def test_one_chunk_has_a_lone_surrogate(model: OfflineModel) -> None:
    got = await seen(model, Fault.LONE_SURROGATE)
    assert got.lines[1 + 3].isascii()
    assert got.deltas[1 + 3] == {"content": "\ud800"}
    assert got.text == HALF + "\ud800" + TEXT.removeprefix(HALF)


async def test_an_error_object_comes_as_a_chunk_and_then_the_end(model: OfflineModel) -> None:
    got = await seen(model, Fault.ERROR_CHUNK)
    assert (got.text, got.finish_reasons, got.ending) == (HALF, [], "complete")
    assert got.chunks[-1]["error"]["message"] == CANARY


async def test_a_missing_done_is_all_that_is_missing(model: OfflineModel) -> None:
    got = await seen(model, Fault.NO_DONE)
    assert (got.text, got.finish_reasons, got.ending) == (TEXT, ["stop"], "complete")
    assert b"[DONE]" not in got.body


@pytest.mark.parametrize("fault", [Fault.EMPTY_CHOICES, Fault.NULL_CONTENT, Fault.USAGE_ONLY])
async def test_a_strange_chunk_among_the_others_takes_nothing_away(
    model: OfflineModel, fault: Fault
) -> None:
    got = await seen(model, fault)
    assert (got.text, got.finish_reasons) == (TEXT, ["stop"])
    strange = got.chunks[1 + 3]
    match fault:
        case Fault.NULL_CONTENT:
            assert strange["choices"][0]["delta"] == {"content": None}
        case Fault.EMPTY_CHOICES:
            assert (strange["choices"], "usage" in strange) == ([], False)
        case _:
            assert strange["choices"] == []
            assert strange["usage"]["total_tokens"] == 2


async def test_one_chunk_holds_a_mebibyte_of_text(model: OfflineModel) -> None:
    got = await seen(model, Fault.HUGE_CHUNK)
    assert len(got.deltas[1 + 3]["content"]) == 2**20
    assert got.text.replace(got.deltas[1 + 3]["content"], "") == TEXT


async def test_every_byte_of_a_stream_comes_by_itself(model: OfflineModel) -> None:
    got = await seen(model, Fault.BYTE_BY_BYTE)
    assert got.text == TEXT
    # The first read is the head. This reader wakes up late enough to find two or three at once.
    assert max(map(len, got.reads[1:])) <= 4


async def test_an_ascii_answer_byte_by_byte_gets_korean_and_emoji(model: OfflineModel) -> None:
    model.script(Reply(["red"], fault=Fault.BYTE_BY_BYTE))
    assert (await ask(model.base_url)).text == "red 한글 한 조각 👩‍👩‍👧‍👦🇰🇷"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(Fault.FINISH_LENGTH, "length"), (Fault.FINISH_CONTENT_FILTER, "content_filter")],
)
async def test_half_an_answer_ends_with_a_reason(
    model: OfflineModel, fault: Fault, reason: str
) -> None:
    got = await seen(model, fault)
    assert (got.text, got.finish_reasons, got.lines[-1]) == (HALF, [reason], b"[DONE]")


async def test_a_refusal_has_no_content(model: OfflineModel) -> None:
    got = await seen(model, Fault.REFUSAL)
    assert got.text == ""
    assert "".join(delta.get("refusal", "") for delta in got.deltas) == TEXT
    assert got.finish_reasons == ["stop"]


@pytest.mark.parametrize(
    ("fault", "name"),
    [(Fault.TOOL_CALL_DELTAS, "tool_calls"), (Fault.REASONING_DELTAS, "reasoning_content")],
)
async def test_other_deltas_in_a_plain_answer_carry_the_canary(
    model: OfflineModel, fault: Fault, name: str
) -> None:
    got = await seen(model, fault)
    assert (got.text, got.finish_reasons) == (TEXT, ["stop"])
    others = [delta[name] for delta in got.deltas if name in delta]
    assert len(others) > 1
    if fault is Fault.TOOL_CALL_DELTAS:
        others = [call["function"]["arguments"] for calls in others for call in calls]
    assert CANARY in "".join(others)
