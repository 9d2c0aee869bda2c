"""What every answer carries, what no answer tells, and the pages that need no identity."""

import json
import logging
import re
from typing import Any

import pytest

from sluice.domain.errors import Conflict
from sluice.domain.events import Done, Token
from tests.http.house import DONE, House, serving

EVERYWHERE = [
    "/", "/assets/app.js", "/assets/none.js", "/docs", "/openapi.json", "/healthz", "/readyz",
    "/metrics", "/nowhere", "/api/v1/chat", "/api/v1/jobs/none", "/api/v1/chat/none/events",
]  # fmt: skip


@pytest.mark.parametrize("path", EVERYWHERE)
async def test_every_answer_says_how_it_may_be_used(path: str) -> None:
    async with serving() as house:
        answer = await house.client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"]


@pytest.mark.parametrize("path", EVERYWHERE)
async def test_a_requests_id_is_taken_over(path: str) -> None:
    async with serving() as house:
        answer = await house.client.get(path, headers={"X-Request-ID": "abc-1/2"})
        assert answer.headers.get_list("x-request-id") == ["abc-1/2"]


@pytest.mark.parametrize("given", [b"", b"a b", b"x" * 129, "é".encode(), b"a\tb"])
async def test_a_requests_id_that_cannot_be_logged_is_replaced(given: bytes) -> None:
    async with serving() as house:
        answer = await house.client.get("/nowhere", headers=[(b"X-Request-ID", given)])
        made = answer.headers["x-request-id"]
        assert re.fullmatch(r"[\w-]{22,}", made)
        assert answer.json()["request_id"] == made


async def test_two_ids_for_one_request_are_none() -> None:
    async with serving() as house:
        answer = await house.client.get(
            "/nowhere", headers=[("X-Request-ID", "a"), ("X-Request-ID", "b")]
        )
        assert answer.headers["x-request-id"] not in {"a", "b"}


async def test_a_problem_has_all_its_fields() -> None:
    async with serving() as house:
        answer = await house.client.get("/nowhere")
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem == {
            "type": "about:blank",
            "title": "Not Found",
            "status": 404,
            "detail": problem["detail"],
            "code": "not_found",
            "request_id": answer.headers["x-request-id"],
        }


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/v1/chat", "GET, HEAD, POST"),
        ("POST", "/api/v1/chat/a", "GET, HEAD, PATCH, DELETE"),
        ("GET", "/api/v1/chat/a/messages", "POST"),
        ("PATCH", "/api/v1/jobs/a", "GET, HEAD, DELETE"),
        ("POST", "/healthz", "GET, HEAD"),
        ("PUT", "/", "GET, HEAD"),
        ("POST", "/assets/client.js", "GET, HEAD"),
    ],
)
async def test_a_method_that_is_not_there_is_answered_with_those_that_are(
    method: str, path: str, allowed: str
) -> None:
    async with serving() as house:
        answer = await house.client.request(method, path)
        assert answer.status_code == 405
        assert answer.headers["allow"] == allowed
        assert answer.json()["code"] == "method_not_allowed"


class Broken(Exception):
    """No error that anybody foresaw."""


async def test_a_crash_is_a_problem_without_its_text_and_is_logged_without_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving() as house:
        house.log.failure = Broken("a secret: sk-canary")
        for path in ("/api/v1/jobs/a", "/api/v1/chat/a/events"):
            answer = await house.client.get(path)
            assert answer.status_code == 500
            assert answer.json()["code"] == "internal"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-request-id"] in caplog.text
            assert "canary" not in answer.text
    assert "Broken" in caplog.text
    assert "canary" not in caplog.text


async def test_a_crash_in_mid_stream_is_logged_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(DONE) as house:
        job = await house.asked()
        house.log.breaking = Broken("a secret: sk-canary")
        reader, writer = await house.raw(
            f"GET /api/v1/chat/{job}/events HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        body = await reader.read()
        writer.close()
        assert not body.endswith(b"0\r\n\r\n")
        assert house.streams.open == 0
    assert "Broken" in caplog.text
    assert "canary" not in caplog.text


async def test_no_prompt_answer_or_chunk_is_logged_at_any_level(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("sse_starlette").setLevel(logging.WARNING)  # as the service sets it
    async with serving(Token("canary-answer", "a"), Done("A2", "canary-answer")) as house:
        await house.asked("canary-prompt", metadata={"a": "canary-metadata"})
        await house.client.post("/api/v1/chat", content=b'{"message": "canary-broken')
        await house.client.post("/api/v1/chat", json={"canary-field": "canary-value"})
        await house.client.get("/api/v1/chat", headers={"Cookie": "s_access=canary-cookie"})
    ours = [record for record in caplog.records if not record.name.startswith("httpcore2")]
    assert "canary" not in "".join(map(logging.Formatter().format, ours))


async def test_a_conflicts_text_is_public() -> None:
    async with serving(DONE) as house:
        house.log.failure = Conflict("the chat's last question is still being answered")
        answer = await house.client.get("/api/v1/jobs/a")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert "still being answered" in answer.json()["detail"]


async def test_live_and_ready_are_two_questions() -> None:
    async with serving() as house:
        assert (await house.client.get("/healthz")).json() == {"status": "ok"}
        assert (await house.client.get("/readyz")).json() == {"status": "ready"}
        house.unready.append("The store cannot be reached.")
        answer = await house.client.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
        assert answer.json()["detail"] == "The store cannot be reached."
        assert answer.headers["retry-after"]
        assert (await house.client.get("/healthz")).status_code == 200
        assert (await house.client.head("/readyz")).status_code == 503


@pytest.mark.parametrize(
    "path",
    ["/", "/compare", "/rollout", "/healthz", "/readyz", "/metrics", "/docs", "/docs/style.css",
     "/openapi.json", "/assets/client.js"],
)  # fmt: skip
async def test_what_needs_no_identity_may_be_asked_for_its_head(path: str) -> None:
    async with serving() as house:
        whole, head = await house.client.get(path), await house.client.head(path)
        assert (whole.status_code, head.status_code, head.content) == (200, 200, b"")
        assert head.headers["content-type"] == whole.headers["content-type"]
        allowed = (await house.client.options(path)).headers["allow"]
        assert allowed == "GET, HEAD"


@pytest.mark.parametrize(
    "path", ["/api/v1/chat", "/api/v1/chat/{chat_id}", "/api/v1/jobs/{job_id}"]
)
async def test_what_can_be_looked_at_may_be_asked_for_its_head(path: str) -> None:
    async with serving(DONE) as house:
        asked = await house.ask()
        await house.read(asked["job_id"])
        url = path.format(**asked)
        whole, head = await house.client.get(url), await house.client.head(url)
        assert (whole.status_code, head.status_code, head.content) == (200, 200, b"")
        for name in ("content-type", "content-length"):
            assert head.headers[name] == whole.headers[name]
        allowed = (await house.client.options(url)).headers["allow"]
        assert allowed.startswith("GET, HEAD")


async def test_metrics_are_prometheus_text() -> None:
    async with serving() as house:
        answer = await house.client.get("/metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "sluice_open_streams" in answer.text


async def test_the_page_and_its_files_come_from_here_and_nowhere_else() -> None:
    async with serving() as house:
        page = await house.client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert (await house.client.head("/")).status_code == 200
        files = re.findall(r'(?:src|href)="(/assets/[^"]+)"', page.text)
        assert files
        for file in files:
            answer = await house.client.get(file)
            assert answer.status_code == 200
            again = await house.client.get(file, headers={"If-None-Match": answer.headers["etag"]})
            assert again.status_code == 304
        assert (await house.client.get("/assets/%2e%2e/http/app.py")).status_code == 404


@pytest.mark.parametrize("offline", [False, True])
async def test_the_page_tells_of_the_offline_model_before_any_script_runs(offline: bool) -> None:
    async with serving(offline=offline) as house:
        page = await house.client.get("/")
        badge = re.search(r'<p [^>]*id="offline"[^>]*>', page.text)
        assert badge is not None
        assert ("hidden" not in badge[0]) is offline
        assert "<script>" not in page.text


async def test_the_documentation_is_a_page_without_scripts_that_names_every_endpoint() -> None:
    async with serving() as house:
        page = await house.client.get("/docs")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "<script" not in page.text
        assert not re.search(r"(?:src|href)=.?https?:", page.text)
        document = (await house.client.get("/openapi.json")).json()
        for path, operations in document["paths"].items():
            for method in operations:
                assert f"{method.upper()} {path}" in page.text
        style = await house.client.get("/docs/style.css")
        assert style.headers["content-type"] == "text/css; charset=utf-8"


async def test_the_documentation_is_of_exactly_the_contracts_endpoints() -> None:
    async with serving() as house:
        document = await _document(house)
        assert {
            (method.upper(), path)
            for path, operations in document["paths"].items()
            for method in operations
        } == {
            ("POST", "/api/v1/chat"), ("GET", "/api/v1/chat"),
            ("GET", "/api/v1/chat/{chat_id}"), ("PATCH", "/api/v1/chat/{chat_id}"),
            ("DELETE", "/api/v1/chat/{chat_id}"), ("POST", "/api/v1/chat/{chat_id}/messages"),
            ("GET", "/api/v1/chat/{job_id}/events"), ("POST", "/api/v1/chat/{job_id}/input"),
            ("GET", "/api/v1/jobs/{job_id}"), ("DELETE", "/api/v1/jobs/{job_id}"),
            ("GET", "/api/v1/rollout"), ("PUT", "/api/v1/rollout"),
            ("GET", "/api/v1/rollout/outcomes"),  # what `sluice rollout export` reads
            ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"),
        }  # fmt: skip


async def test_the_documentation_declares_problems_as_they_are_sent() -> None:
    async with serving() as house:
        document = await _document(house)
        assert "HTTPValidationError" not in json.dumps(document)
        for operations in document["paths"].values():
            for operation in operations.values():
                for status, answer in operation["responses"].items():
                    if int(status) >= 400:
                        assert list(answer["content"]) == ["application/problem+json"]


async def _document(house: House) -> dict[str, Any]:
    document: dict[str, Any] = (await house.client.get("/openapi.json")).json()
    return document
