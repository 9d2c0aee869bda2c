"""Every fault that breaks an answer does on the wire what its name says."""

import json

import pytest

from sluice.offline_model import CANARY, Fault, OfflineModel, Reply

from .socket_client import QUESTION, STREAM, ask
from .strange_upstream import HALF, PIECES, TEXT, seen


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
