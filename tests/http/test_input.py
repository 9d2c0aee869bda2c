"""What no client should send, and some do."""

import gzip
import json
import tracemalloc
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from sluice.domain.errors import Unavailable
from sluice.interfaces.http.json_request import parse_json
from sluice.interfaces.protocols.ag_ui.requests import RunInput
from sluice.interfaces.protocols.ai_sdk.requests import ChatRequest
from sluice.interfaces.protocols.langgraph.requests import NewRun
from sluice.interfaces.protocols.langgraph.thread_events import Events
from sluice.interfaces.protocols.openai.requests import Completion, ResponseRequest
from tests.http.house import DONE, serving

JSON = {"Content-Type": "application/json"}
LIMIT = 1000
WRONG = [0] * 100


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"nonsense", b"{'message': 'a'}", b'{"message": "a"} x', b'{"message": "a",}',
        b'{"message": "\xff\xfe"}', b"\xef\xbb\xbf{}", '{"message": "a"}'.encode("utf-16"),
        b'{"message": "a", "metadata": {"n": NaN}}', b'{"message": "a", "metadata": [Infinity]}',
        b'{"message": "a", "metadata": {"n": 1e999}}', b'{"message": "\x01"}',
        b'{"message": "a", "metadata": {"n": %s}}' % (b"9" * 5000),
        b"[" * 7_000, b'{"a":' * 3_000, b'{"message": "a", "message": "b"}',
    ],
)  # fmt: skip
async def test_what_is_not_json_is_a_bad_request(body: bytes) -> None:
    async with serving(DONE) as house:
        answer = await house.client.post("/api/v1/chat", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")


async def test_a_body_that_is_asked_for_and_empty_is_not_json() -> None:
    async with serving(DONE) as house:
        for path in ("/api/v1/chat/any/messages", "/api/v1/chat/any/input"):
            answer = await house.client.post(path, content=b"", headers=JSON)
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")
        assert (await house.client.post("/api/v1/chat", headers=JSON)).status_code == 201


async def test_json_100_000_deep_is_refused_and_the_service_lives() -> None:
    async with serving(DONE) as house:
        for deep in (b"[" * 100_000, b'{"message":' * 30_000, b"[" * 50_000 + b"]" * 50_000):
            answer = await house.client.post("/api/v1/chat", content=deep, headers=JSON)
            assert answer.status_code == 400
        nested = b'{"message": "a", "metadata": {"a": ' + b"[" * 800 + b"]" * 800 + b"}}"
        answer = await house.client.post("/api/v1/chat", content=nested, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")
        assert (await house.ask())["job_id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"message": ""}', "message"),
        ('{"message": " \\n\\u2003\\t"}', "message"),
        ('{"message": 1}', "message"),
        ('{"message": null}', "message"),
        ('{"message": ["a"]}', "message"),
        ('{"message": true}', "message"),
        ('{"message": "a\\u0000"}', "message"),
        ('{"message": "a\\ud800"}', "message"),
        ('{"message": "a\\udc00\\ud800"}', "message"),
        ('{"message": "a", "model": 3}', "model"),
        ('{"message": "a", "model": ""}', "model"),
        ('{"message": "a", "model": "a\\u0000"}', "model"),
        ('{"message": "a", "metadata": "b"}', "metadata"),
        ('{"message": "a", "metadata": [1]}', "metadata"),
        ('{"message": "a", "metadata": null}', "metadata"),
        ('{"message": "a", "metadata": {"b": ["c", {"d": "\\ud83d"}]}}', "metadata.b.1.d"),
        ('{"message": "a", "metadata": {"b": "\\u0000"}}', "metadata.b"),
        ('{"message": "a", "metadata": {"b": {"\\u0000": 1}}}', "metadata.b.\\x00"),
        ('{"message": "a", "session_id": 5}', "session_id"),
        (json.dumps({"message": "a", "session_id": "x" * 129}), "session_id"),
        ('{"message": "a", "titel": "b"}', "titel"),
        ('{"message": "a", "title": "b"}', "title"),
        ('{"session_id": "a"}', "message"),
        ('{"title": 1}', "title"),
        ('{"title": "a\\ud800"}', "title"),
        (json.dumps({"title": "x" * 201}), "title"),
        ('{"\\ud800": 1}', "\\ud800"),
        ('{"retry_of": "a"}', "retry_of"),
        ("[]", "body"),
        ('"message"', "body"),
        ("7", "body"),
    ],
)
async def test_a_field_that_is_refused_is_named(body: str, field: str) -> None:
    async with serving(DONE) as house:
        answer = await house.client.post("/api/v1/chat", content=body, headers=JSON)
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (422, "invalid_field")
        assert problem["detail"].startswith(f"{field}: ")
        assert (await house.client.get("/api/v1/chat")).json()["items"] == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "message"),
        ({"message": "a", "retry_of": "b"}, "message"),
        ({"retry_of": 1}, "retry_of"),
        ({"retry_of": "a\0"}, "retry_of"),
        ({"message": "a", "session_id": "b"}, "session_id"),
        (None, "body"),
    ],
)
async def test_a_field_of_a_message_that_is_refused_is_named(body: Any, field: str) -> None:
    async with serving(DONE) as house:
        told = json.dumps(body).encode()
        answer = await house.client.post("/api/v1/chat/any/messages", content=told, headers=JSON)
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("body", "field"),
    [({"type": "stop"}, "type"), ({}, "input_id"), ({"type": "cancel", "now": True}, "now")],
)
async def test_an_input_that_is_refused_is_named(body: Any, field: str) -> None:
    async with serving(DONE) as house:
        answer = await house.client.post("/api/v1/chat/any/input", json=body)
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith(f"{field}: ")


def test_a_long_name_is_not_kept_for_each_value_below_it() -> None:
    body = b'{"%b": [%b0]}' % (b"x" * 100_000, b'"", ' * 2_000)
    tracemalloc.start()
    parse_json(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * len(body)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Completion, {"model": "sluice", "messages": WRONG}),
        (Completion, {"model": "sluice", "messages": [{"role": "user", "content": WRONG}]}),
        (ResponseRequest, {"model": "sluice", "input": WRONG}),
        (ChatRequest, {"id": "c", "messages": WRONG}),
        (ChatRequest, {"id": "c", "messages": [{"role": "user", "parts": WRONG}]}),
        (RunInput, {"threadId": "t", "runId": "r", "messages": WRONG}),
        (RunInput, {"threadId": "t", "runId": "r", "resume": WRONG}),
        (NewRun, {"assistant_id": "sluice", "stream_mode": WRONG}),
        (Events, {"channels": WRONG}),
    ],
)
def test_a_list_is_read_up_to_the_first_that_is_wrong(kind: type[BaseModel], body: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        kind.model_validate(body)
    assert refused.value.error_count() <= 2  # a text or a list is wrong both ways


async def test_a_refusal_never_repeats_a_long_name() -> None:
    async with serving(DONE) as house:
        answer = await house.client.post("/api/v1/chat", json={"x" * 5000: 1})
        assert len(answer.content) < 500


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("character", ["x", "가", "😀", "\x01"])
async def test_a_message_of_the_greatest_size_fits_however_it_is_written(
    character: str, ascii_only: bool
) -> None:
    size = len(character.encode())
    longest = character * (LIMIT // size)
    async with serving(DONE, max_message_bytes=LIMIT) as house:
        for message, status in ((longest, 202), (longest + "x" * size, 413)):
            body = json.dumps({"message": message}, ensure_ascii=ascii_only)
            answer = await house.client.post("/api/v1/chat", content=body, headers=JSON)
            assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "too_large"


async def test_a_body_that_is_too_large_is_refused_when_it_is_announced() -> None:
    async with serving(DONE) as house:
        head = "POST /api/v1/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n"
        reader, writer = await house.raw(head)
        assert b" 413 " in await reader.readline()
        writer.close()


async def test_a_body_that_is_too_large_is_refused_before_it_is_whole() -> None:
    async with serving(DONE) as house:
        head = "POST /api/v1/chat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        reader, writer = await house.raw(head)
        for _ in range(20):
            writer.write(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        assert b" 413 " in await reader.readline()
        writer.close()


async def test_ten_megabytes_are_refused_wherever_they_are_sent() -> None:
    async with serving(DONE) as house:
        for method, url in (
            ("POST", "/api/v1/chat"),
            ("POST", "/api/v1/chat/any/messages"),
            ("POST", "/api/v1/chat/any/input"),
            ("PATCH", "/api/v1/chat/any"),
        ):
            answer = await house.client.request(method, url, content=b"x" * 10_000_000)
            assert answer.status_code == 413
            assert answer.headers["content-type"] == "application/problem+json"


async def test_a_compressed_body_is_not_unpacked() -> None:
    async with serving(DONE) as house:
        answer = await house.client.post(
            "/api/v1/chat",
            content=gzip.compress(b'{"message": "a"}'),
            headers=JSON | {"Content-Encoding": "gzip"},
        )
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (None, 202), ("application/json", 202), ("Application/JSON; charset=utf-8", 202),
        ("application/vnd.mine+json", 202), ("application/x-www-form-urlencoded", 415),
        ("text/plain", 415), ("multipart/form-data; boundary=x", 415), ("", 415),
    ],
)  # fmt: skip
async def test_a_body_that_says_it_is_something_else_is_refused_kindly(
    kind: str | None, status: int
) -> None:
    async with serving(DONE) as house:
        headers = {} if kind is None else {"Content-Type": kind}
        answer = await house.client.post(
            "/api/v1/chat", content=b'{"message": "a"}', headers=headers
        )
        assert answer.status_code == status
        if status == 415:
            assert "Content-Type: application/json" in answer.json()["detail"]


@pytest.mark.parametrize(
    "given",
    [
        "..%2f..%2fetc%2fpasswd", "%0d%0aSet-Cookie:%20a=b", "a%00b", "%EA%B0%80", "a.b", "a b",
        "x" * 129, "%ff", "'%20OR%201=1--", "%7B%7D",
    ],
)  # fmt: skip
async def test_what_cannot_be_an_id_is_like_what_never_was(given: str) -> None:
    async with serving(DONE) as house:
        client = house.client
        answers = [
            await client.get(f"/api/v1/jobs/{given}"),
            await client.delete(f"/api/v1/jobs/{given}"),
            await client.get(f"/api/v1/chat/{given}"),
            await client.delete(f"/api/v1/chat/{given}"),
            await client.patch(f"/api/v1/chat/{given}", json={"title": "a"}),
            await client.get(f"/api/v1/chat/{given}/events"),
            await client.post(f"/api/v1/chat/{given}/messages", json={"message": "a"}),
            await client.post(f"/api/v1/chat/{given}/input", json={"type": "cancel"}),
            await client.get("/api/v1/jobs/never-was"),
        ]
        bodies = {json.dumps(answer.json() | {"request_id": ""}) for answer in answers}
        assert {answer.status_code for answer in answers} == {404}
        assert len(bodies) == 1
        assert not any("set-cookie" in answer.headers for answer in answers)


async def test_a_store_is_never_asked_for_what_cannot_be_an_id() -> None:
    async with serving(DONE) as house:
        house.log.failure = Unavailable("asked")
        assert (await house.client.get("/api/v1/jobs/a%00b")).status_code == 404
        assert (await house.client.get("/api/v1/chat/a.b/events")).status_code == 404


@pytest.mark.parametrize("cursor", ["x", "%00", "eA==", "bm93IHg=", "가", "MjAyNi0wMS0wMSBh"])
async def test_a_cursor_of_a_list_that_was_never_given_is_refused_by_name(cursor: str) -> None:
    async with serving(DONE) as house:
        answer = await house.client.get("/api/v1/chat", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["detail"][:8]) == (422, "cursor: ")


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "1.5", "", "9" * 5000])
async def test_a_limit_out_of_bounds_is_refused_by_name(limit: str) -> None:
    async with serving(DONE) as house:
        answer = await house.client.get("/api/v1/chat", params={"limit": limit})
        assert (answer.status_code, answer.json()["detail"][:7]) == (422, "limit: ")
