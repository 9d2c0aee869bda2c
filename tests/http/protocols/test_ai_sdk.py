"""The AI SDK's routes, as any client may call them; `tests/frontends` has its own client."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from sluice.domain.chat import now
from sluice.domain.events import Done, Json, Token
from sluice.domain.graph_state import Head, InputRequest, Pause
from tests.http.house import House, serving
from tests.http.who import bearer, by_secret
from tests.waiting import until

YES = Token("yes", "a"), Done("A2", "yes")


def asking(*texts: str, **fields: Any) -> dict[str, Any]:
    messages = [{"id": text, "role": "user", "parts": [said(text)]} for text in texts]
    return {"id": "a chat", "messages": messages, "trigger": "submit-message", **fields}


def said(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def chunks(body: str) -> list[Any]:
    data = [frame.split("\n")[1].removeprefix("data: ") for frame in body.split("\n\n")[:-1]]
    return [one if one == "[DONE]" else json.loads(one) for one in data]


async def asked(house: House, *texts: str, **fields: Any) -> str:
    answer = await house.client.post("/api/chat", json=asking(*texts, **fields))
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-sluice-job"])


async def test_the_stream_has_its_headers_and_chunks_in_their_order() -> None:
    async with serving(*YES) as house:
        answer = await house.client.post("/api/chat", json=asking("Why?"))
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    message = {"type": "start", "messageId": f"msg_{answer.headers['x-sluice-job']}"}
    told = chunks(answer.text)
    assert [told[0], told[-1]] == [message, "[DONE]"]
    kinds = [one["type"] for one in told[:-1]]
    assert kinds == [
        *("start", "start-step", "data-stage", "text-start", "text-delta", "text-end"),
        *("finish-step", "finish"),
    ]


async def test_a_chat_that_has_just_ended_is_replayed_and_one_that_ended_before_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(*YES) as house:
        assert (await house.client.get("/api/chat/a chat/stream")).status_code == 204
        job = await asked(house, "Why?")
        again = await house.client.get("/api/chat/a chat/stream")
        assert again.headers["x-sluice-job"] == job
        assert {"type": "text-delta", "id": "text-1", "delta": "yes"} in chunks(again.text)
        house.log._logs[job].ended_at = now() - timedelta(seconds=121)
        assert (await house.client.get("/api/chat/a chat/stream")).status_code == 204
        await house.log.delete(house.log._logs[job].job.chat_id)  # as past its retention
        assert (await house.client.get("/api/chat/a chat/stream")).status_code == 204


async def test_asking_for_a_stream_makes_no_chat() -> None:
    async with serving(*YES) as house:
        await house.client.get("/api/chat/a chat/stream")
        assert (await house.client.get("/api/v1/chat")).json()["items"] == []


async def test_what_another_user_calls_by_the_same_name_is_another_chat() -> None:
    async with serving(*YES, identity=by_secret()) as house:
        ann, bob = bearer(), bearer(sub="bob")
        post = house.client.post
        assert (await post("/api/chat", json=asking("Why?"), headers=ann)).status_code == 200
        stream = "/api/chat/a chat/stream"
        assert (await house.client.get(stream, headers=bob)).status_code == 204
        assert (await post("/api/chat/a chat/stop", headers=bob)).status_code == 404
        assert (await post("/api/chat", json=asking("Mine?"), headers=bob)).status_code == 200
        assert [question.history for question in house.pipeline.asked] == [[], []]


async def test_stopping_ends_what_runs_and_what_waits_behind_it() -> None:
    async with serving(Token("yes", "a"), asyncio.Event()) as house:
        first = asyncio.create_task(asked(house, "Why?"))
        await until(lambda: house.pipeline.asked)
        second = asyncio.create_task(asked(house, "Why?", "And then?"))
        await until(lambda: len(house.log._logs) == 2)
        assert (await house.client.post("/api/chat/a chat/stop")).status_code == 202
        for job in (await first, await second):
            found = (await house.client.get(f"/api/v1/jobs/{job}")).json()
            assert found["status"] == "cancelled"
        assert len(house.pipeline.asked) == 1
        assert (await house.client.post("/api/chat/a chat/stop")).status_code == 202
        assert (await house.client.post("/api/chat/never/stop")).status_code == 404


NO = {"type": "reject", "message": "Ann has moved."}
DECISION: dict[str, Json] = {"type": "object", "properties": {"type": {}}, "required": ["type"]}


@pytest.mark.parametrize(
    ("prompt", "schema", "given"),
    [
        ("Send it?", None, False),
        ("Send it?", {"type": "boolean"}, False),
        ("Go on with send?", DECISION, NO),
        ({"type": "tool_approval", "name": "send"}, DECISION, NO),
        ({"action_requests": [{"name": "send"}] * 2}, None, {"decisions": [NO, NO]}),
    ],
)
async def test_what_is_denied_is_told_to_the_graph_as_it_asks_and_with_the_reason(
    prompt: Json, schema: Any, given: Json
) -> None:
    ask = Pause(Head("chat", "1"), (InputRequest("i1", prompt, "approval", schema),))
    async with serving(ask, *YES) as house:
        await asked(house, "Send it.")
        approval = {"id": "i1", "approved": False, "reason": "Ann has moved."}
        part = {"type": "dynamic-tool", "state": "approval-responded", "approval": approval}
        body = asking("Send it.")
        body["messages"].append({"id": "m", "role": "assistant", "parts": [part]})
        answer = await house.client.post("/api/chat", json=body)
        assert answer.status_code == 200, answer.text
        resumption = house.pipeline.asked[1].resumption
    assert resumption is not None
    assert resumption.answers == {"i1": given}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tools": {"weather": {}}}, "tools"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "parts": [said(" ")]}]}, "messages.0"),
        ({"messages": [{"role": "user", "parts": [{"type": "file"}]}]}, "messages.0.parts.0"),
        ({"model": "another"}, "model"),
        ({"id": "x" * 129}, "id"),
        ({"trigger": "resume-stream"}, "trigger"),
    ],
)
async def test_what_would_change_the_promise_is_refused_by_its_name(
    fields: dict[str, Any], named: str
) -> None:
    async with serving(*YES) as house:
        answer = await house.client.post("/api/chat", json=asking("Why?", **fields))
    assert answer.status_code == 422
    assert answer.text.startswith(f"{named}:")


async def test_metadata_that_are_nested_too_deeply_are_refused_and_what_is_ignored_may_be() -> None:
    deep: Any = []
    for _ in range(600):
        deep = [deep]
    async with serving(*YES) as house:
        answer = await house.client.post("/api/chat", json=asking("Why?", metadata={"a": deep}))
        assert answer.status_code == 422
        await asked(house, "Why?", further=deep)


async def test_what_else_an_application_sends_is_ignored_and_metadata_reach_the_graph() -> None:
    async with serving(*YES) as house:
        await asked(house, "Why?", webSearch=True, tools={}, metadata={"page": "/prices"})
        assert house.pipeline.asked[0].job.metadata == {"page": "/prices"}


async def test_a_history_may_be_longer_than_a_message() -> None:
    told = {"role": "assistant", "parts": [said("long " * 200_000)]}
    question = {"role": "user", "parts": [said("Why?")]}
    async with serving(*YES) as house:
        await asked(house, messages=[told, question])
        assert house.pipeline.asked[0].history == []


async def test_a_question_that_never_came_in_is_asked_when_it_is_made_anew() -> None:
    async with serving(*YES) as house:
        await asked(house, "Why?")
        await asked(house, "Why?", "And then?", trigger="regenerate-message")
        assert [question.job.message for question in house.pipeline.asked] == ["Why?", "And then?"]
        assert house.pipeline.asked[1].job.retry_of is None
