"""What goes wrong before a stream, in each protocol's own shape and with our status."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from ag_ui.core import RunErrorEvent
from langgraph_sdk.errors import ConflictError, UnprocessableEntityError

from sluice.application.scheduling import Bounds
from sluice.domain.events import Done, Token
from tests.http.house import serving
from tests.http.protocols.test_langgraph import asking, clients, run
from tests.http.who import bearer, by_secret

YES = Token("yes", "a"), Done("A2", "yes")
Told = tuple[str, str | None]
"""The message, and the code if there is one."""


@dataclass(frozen=True)
class Wire:
    """One protocol's way to ask, a way to look at a job of that id, and the shape of its errors."""

    path: str
    body: dict[str, Any]
    job: str
    shape: set[str]
    told: Callable[[bytes], Told]
    too_wrong: int = 422


def _by(message: str, code: str) -> Callable[[bytes], Told]:
    def told(body: bytes) -> Told:
        fields = json.loads(body)
        return fields[message], fields[code]

    return told


def _openai(body: bytes) -> Told:
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error["message"], error["code"]


def _ag_ui(body: bytes) -> Told:
    event = RunErrorEvent.model_validate_json(body)
    return event.message, event.code


_AG_UI = {"threadId": "t", "runId": "r", "messages": [{"role": "user", "content": "Why?"}]}
_V2 = {"id": 1, "method": "run.start", "params": {"assistant_id": "a", "input": asking()}}
WIRES = {
    "native": Wire(
        "/api/v1/chat",
        {"message": "Why?"},
        "GET /api/v1/chat/{job}/events",
        {"type", "title", "status", "detail", "code", "request_id"},
        _by("detail", "code"),
    ),
    "langgraph": Wire(
        "/langgraph/runs/stream",
        {"assistant_id": "a", "input": asking()},
        "GET /langgraph/threads/t/runs/{job}/stream",
        {"detail", "code", "request_id"},
        _by("detail", "code"),
    ),
    "langgraph events": Wire(
        "/langgraph/threads/t/commands",
        _V2,
        "POST /langgraph/threads/t/runs/{job}/cancel",
        {"type", "id", "error", "message", "code", "request_id"},
        _by("message", "code"),
    ),
    "openai": Wire(
        "/v1/responses",
        {"model": "sluice", "input": "Why?"},
        "GET /v1/responses/{job}",
        {"error"},
        _openai,
        too_wrong=400,
    ),
    "ai-sdk": Wire(
        "/api/chat",
        {"id": "t", "messages": [{"role": "user", "parts": [{"type": "text", "text": "Why?"}]}]},
        "POST /api/chat/{job}/stop",
        set(),
        lambda body: (body.decode(), None),
    ),
    "ag-ui": Wire("/ag-ui", _AG_UI, "GET /ag-ui?runId={job}", {"type", "message", "code"}, _ag_ui),
    "copilotkit": Wire(
        "/copilotkit/agent/default/run",
        _AG_UI,
        "POST /copilotkit/agent/default/stop/{job}",
        {"error", "message"},
        _by("message", "error"),
    ),
}
EACH = pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES)


@EACH
async def test_a_refusal_has_the_protocols_own_shape_and_our_status(wire: Wire) -> None:
    async with serving(*YES, identity=by_secret(), max_message_bytes=3, streams=0) as house:
        for content, headers, status, code in (
            (json.dumps(wire.body), {}, 401, "unauthorized"),
            (json.dumps(wire.body), bearer(), 413, "too_large"),
            ("{", bearer(), 400, "invalid_json"),
            ("", bearer(), 400, "invalid_json"),
            ("[]", bearer(), wire.too_wrong, "invalid_field"),
        ):
            if not content and wire.path == "/api/v1/chat":
                continue  # its body may be left out
            headers = {"Content-Type": "application/json", **headers}
            answer = await house.client.post(wire.path, content=content, headers=headers)
            assert answer.status_code == status, answer.text
            message, told = wire.told(answer.content)
            assert message
            assert told in {code, None}
            assert wire.shape == (set(answer.json()) if wire.shape else set())
            assert answer.headers["x-request-id"]


@EACH
async def test_what_could_be_tried_again_says_when(wire: Wire) -> None:
    async with serving(*YES, bounds=Bounds(user_running=0, user_queued=0)) as house:
        answer = await house.client.post(wire.path, json=wire.body)
        assert answer.status_code == 429, answer.text
        assert int(answer.headers["retry-after"]) > 0
        assert wire.told(answer.content)[1] in {"too_many_requests", None}


@pytest.mark.parametrize("name", sorted(set(WIRES) - {"langgraph events"}))
async def test_a_stream_too_many_takes_no_job(name: str) -> None:
    wire = WIRES[name]
    async with serving(*YES, streams=0) as house:
        headers = {"Accept": "text/event-stream"}
        answer = await house.client.post(wire.path, json=wire.body, headers=headers)
        assert answer.status_code == 429, answer.text
        assert house.log._logs == {}


@EACH
async def test_anothers_job_is_told_like_one_that_never_was(wire: Wire) -> None:
    async with serving(*YES, identity=by_secret()) as house:
        asked = await house.client.post(
            "/api/v1/chat", json={"message": "Why?", "session_id": "t"}, headers=bearer()
        )
        bob = bearer(sub="bob")
        method, path = wire.job.split(" ")
        both = []
        for job in (asked.json()["job_id"], "AAAAAAAAAAAAAAAAAAAAAA"):
            headers = {**bob, "X-Request-ID": "r"}
            body: Any = None if method == "GET" else {}
            answer = await house.client.request(
                method, path.format(job=job), json=body, headers=headers
            )
            assert answer.status_code == 404
            told = {name: answer.headers[name] for name in answer.headers if name != "date"}
            both.append((answer.content, told))
        assert both[0] == both[1]


async def test_langgraphs_client_for_python_has_message_and_code() -> None:
    async with serving(*YES) as house, clients(house) as client:
        thread = (await client.threads.create())["thread_id"]
        with pytest.raises(UnprocessableEntityError) as refused:
            await run(client, thread, input={"messages": []})
        assert refused.value.message == "input.messages: must have a human message"
        assert refused.value.code == "invalid_field"
        with pytest.raises(ConflictError) as conflict:
            await client.threads.create(thread_id=thread)
        assert conflict.value.message == "there is a thread of that id"
