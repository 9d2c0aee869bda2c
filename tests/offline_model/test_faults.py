"""Every fault does on the wire what its name says."""

import json

import pytest

from infrastructure.offline_model import CANARY, Fault, OfflineModel, Reply

from .socket_client import QUESTION, STREAM, Seen, ask

PIECES = ["무색", " 페트병은", " 👩‍👩‍👧‍👦", " red", "."]
TEXT = "".join(PIECES)
HALF = "".join(PIECES[:3])


SILENT_AFTER = {
    Fault.HANG_BEFORE_STATUS: b"",
    Fault.HANG_AFTER_HEADERS: b"\r\n\r\n",
    Fault.HANG_MID_STREAM: "👦".encode(),
}


async def seen(model: OfflineModel, fault: Fault, *, stream: bool = True) -> Seen:
    model.script(Reply(PIECES, fault=fault))
    silent_after = SILENT_AFTER.get(fault)
    if stream:
        return await ask(model.base_url, STREAM, silent_after=silent_after)
    return await ask(model.base_url, QUESTION, silent_after=silent_after and b'{"id"')


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault.UNAUTHORIZED, 401),
        (Fault.FORBIDDEN, 403),
        (Fault.NOT_FOUND, 404),
        (Fault.UNPROCESSABLE, 422),
        (Fault.RATE_LIMITED, 429),
        (Fault.RATE_LIMITED_BRIEFLY, 429),
        (Fault.RATE_LIMITED_FOR_LONG, 429),
        (Fault.SERVER_ERROR_ONCE, 500),
        (Fault.SERVER_ERROR, 500),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_is_an_error_object_with_the_canary(
    model: OfflineModel, fault: Fault, status: int, stream: bool
) -> None:
    got = await seen(model, fault, stream=stream)
    assert (got.status, got.headers["content-type"]) == (status, "application/json")
    assert CANARY in json.loads(got.body)["error"]["message"]


async def test_the_rate_limits_differ_in_their_retry_after(model: OfflineModel) -> None:
    plain = await seen(model, Fault.RATE_LIMITED)
    brief = await seen(model, Fault.RATE_LIMITED_BRIEFLY)
    long = await seen(model, Fault.RATE_LIMITED_FOR_LONG)
    assert "retry-after" not in plain.headers
    assert (brief.headers["retry-after"], brief.headers["retry-after-ms"]) == ("1", "20")
    assert (long.headers["retry-after"], "retry-after-ms" in long.headers) == ("100", False)


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        (Fault.UNAVAILABLE_HTML, 503, "text/html"),
        (Fault.HTML_WITH_200, 200, "text/html; charset=utf-8"),
        (Fault.JSON_WITH_200, 200, "application/json"),
        (Fault.COMPLETION_WITH_200, 200, "application/json"),
    ],
)
async def test_something_else_than_a_stream_comes_whole_and_with_the_canary(
    model: OfflineModel, fault: Fault, status: int, kind: str
) -> None:
    got = await seen(model, fault)
    assert (got.status, got.headers["content-type"], got.ending) == (status, kind, "complete")
    assert CANARY.encode() in got.body
    assert not got.body.startswith(b"data:")


async def test_the_completion_in_place_of_a_stream_is_a_normal_one(model: OfflineModel) -> None:
    whole = json.loads((await seen(model, Fault.COMPLETION_WITH_200)).body)
    assert whole["object"] == "chat.completion"
    assert whole["choices"][0]["finish_reason"] == "stop"


async def test_a_redirect_leads_to_a_path_that_would_answer(model: OfflineModel) -> None:
    got = await seen(model, Fault.REDIRECT)
    assert (got.status, model.redirects_followed) == (307, 0)
    model.script(Reply(PIECES))
    followed = await ask(model.base_url, path=got.headers["location"])
    assert (followed.text, model.redirects_followed) == (TEXT, 1)


@pytest.mark.parametrize(
    ("fault", "ending"),
    [(Fault.HANG_BEFORE_STATUS, "silence"), (Fault.RESET_BEFORE_ANSWER, "reset")],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_no_status_line_comes(
    model: OfflineModel, fault: Fault, ending: str, stream: bool
) -> None:
    got = await seen(model, fault, stream=stream)
    assert (got.status, got.reads, got.ending) == (None, [], ending)
    await model.until_idle()


async def test_a_hang_after_the_headers_sends_the_headers_only(model: OfflineModel) -> None:
    got = await seen(model, Fault.HANG_AFTER_HEADERS)
    assert (got.status, got.body, got.ending) == (200, b"", "silence")
    await model.until_idle()


@pytest.mark.parametrize(
    ("fault", "ending"),
    [
        (Fault.HANG_MID_STREAM, "silence"),
        (Fault.RESET_MID_STREAM, "reset"),
        (Fault.CUT_MID_CHUNK, "cut"),
        (Fault.PROPER_END_HALF_WAY, "complete"),
    ],
)
async def test_the_stream_breaks_after_half_of_the_pieces(
    model: OfflineModel, fault: Fault, ending: str
) -> None:
    got = await seen(model, fault)
    got.body = got.body[: got.body.rindex(b"\n\n")]  # what is cut within a chunk is no event
    assert (got.status, got.text, got.ending) == (200, HALF, ending)
    assert got.finish_reasons == []
    assert b"[DONE]" not in got.body
    await model.until_idle()


@pytest.mark.parametrize(
    ("fault", "ending"),
    [
        (Fault.HANG_MID_STREAM, "silence"),
        (Fault.RESET_MID_STREAM, "reset"),
        (Fault.CUT_MID_CHUNK, "cut"),
        (Fault.PROPER_END_HALF_WAY, "complete"),
    ],
)
async def test_a_whole_answer_breaks_within_its_body(
    model: OfflineModel, fault: Fault, ending: str
) -> None:
    got = await seen(model, fault, stream=False)
    assert (got.status, got.ending) == (200, ending)
    assert got.body
    with pytest.raises(ValueError, match=r"."):
        json.loads(got.body)
    await model.until_idle()


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


def whole_without(got: Seen, line: bytes) -> Seen:
    body = got.body.replace(b"data: " + line + b"\n\n", b"")
    assert body != got.body
    assert body.endswith(b"data: [DONE]\n\n")
    return Seen(body=body)


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


@pytest.mark.parametrize("fault", list(Fault))
async def test_every_fault_ends_when_the_client_leaves(model: OfflineModel, fault: Fault) -> None:
    await seen(model, fault)
    await model.until_idle()
    assert model.opened == model.closed == 1


async def test_a_fault_that_happens_once_happens_once() -> None:
    async with OfflineModel(pace=0, fault=Fault.SERVER_ERROR_ONCE) as model:
        statuses = [(await ask(model.base_url)).status for _ in range(3)]
    assert statuses == [500, 200, 200]


async def test_a_standing_fault_befalls_every_call() -> None:
    async with OfflineModel(pace=0, fault=Fault.SERVER_ERROR) as model:
        assert [(await ask(model.base_url)).status for _ in range(2)] == [500, 500]


async def test_a_standing_fault_within_a_stream_spares_structured_calls() -> None:
    structured = {**STREAM, "response_format": {"type": "json_object"}}
    async with OfflineModel(pace=0, fault=Fault.PROPER_END_HALF_WAY) as model:
        assert (await ask(model.base_url, QUESTION)).body.endswith(b"}")
        assert (await ask(model.base_url, structured)).finish_reasons == ["stop"]
        assert (await ask(model.base_url, STREAM)).finish_reasons == []
