"""Asking: what a client is told, and that nothing is half-accepted."""

import asyncio
import re
from typing import Any

import pytest

from sluice.application.scheduling import Bounds
from sluice.domain.events import Done, Token
from tests.http.house import DONE, House, serving, text
from tests.waiting import until

ODD = (
    "가나 \u1112\u1161\u11ab 👩\u200d👩\u200d👧 \u202e\u200b\u2028"
    " data: x\n\nevent: done\r\r\n \x7f\x01 \\u0000"
)


async def chat_of(house: House, **body: Any) -> str:
    answer = await house.client.post("/api/v1/chat", json=body)
    assert answer.status_code == 201
    chat: str = answer.json()["id"]
    return chat


async def test_a_question_is_answered_with_exactly_what_a_client_needs() -> None:
    async with serving(DONE) as house:
        chat = await chat_of(house)
        answer = await house.client.post(f"/api/v1/chat/{chat}/messages", json={"message": "Why?"})
        body = answer.json()
        assert answer.status_code == 202
        assert body == {
            "job_id": body["job_id"],
            "chat_id": chat,
            "status": "queued",
            "path": "A2",
            "stream_url": f"/api/v1/chat/{body['job_id']}/events",
        }
        assert answer.headers["location"] == f"/api/v1/jobs/{body['job_id']}"
        assert len(body["job_id"]) >= 22
        assert {
            (b"location", answer.headers["location"].encode()),
            (b"x-sluice-job", body["job_id"].encode()),
            (b"content-length", str(len(answer.content)).encode()),
            (b"content-type", b"application/json"),
        } <= set(answer.headers.raw)


async def test_the_first_event_is_there_when_the_answer_is() -> None:
    gate = asyncio.Event()
    async with serving(gate, DONE, bounds=Bounds(user_queued=None)) as house:
        for _ in range(20):
            job = (await house.ask())["job_id"]
            assert (await house.client.head(f"/api/v1/chat/{job}/events")).status_code == 200
            assert (await house.log.read(job)).events
        gate.set()


async def test_a_question_reaches_the_pipeline_as_it_was_sent() -> None:
    async with serving(Token(ODD, "answer"), Done("A2", ODD), models=frozenset({"big"})) as house:
        asked = await house.ask(ODD, model="big", metadata={"a": [1, None, {"b": ODD}]})
        events = await house.read(asked["job_id"])
        assert text(events) == events[-1].data["answer"] == ODD
        job = house.pipeline.asked[0].job
        assert (job.message, job.model) == (ODD, "big")
        assert job.metadata == {"a": [1, None, {"b": ODD}]}
        chat = (await house.client.get(f"/api/v1/chat/{asked['chat_id']}")).json()
        assert [item["content"] for item in chat["items"]] == [ODD, ODD]


async def test_the_requests_id_is_the_jobs_id_for_support() -> None:
    async with serving(ValueError("secret")) as house:
        chat = await chat_of(house)
        answer = await house.client.post(
            f"/api/v1/chat/{chat}/messages",
            json={"message": "Why?"},
            headers={"X-Request-ID": "mine"},
        )
        assert answer.headers["x-request-id"] == "mine"
        end = (await house.read(answer.json()["job_id"]))[-1]
        assert (end.event, end.data["request_id"]) == ("error", "mine")
        assert "secret" not in str(end)


async def test_a_first_question_opens_its_chat() -> None:
    async with serving(DONE) as house:
        asked = await house.ask("  What\n is   this? ")
        await house.read(asked["job_id"])
        chat = (await house.client.get(f"/api/v1/chat/{asked['chat_id']}")).json()
        assert chat["title"] == "What is this?"
        assert [item["content"] for item in chat["items"]] == ["  What\n is   this? "]


@pytest.mark.parametrize("session", ["mine", "", "../../etc/passwd", "세션\r\n" * 25, "x" * 128])
async def test_a_session_is_one_chat_for_as_long_as_it_is_named(session: str) -> None:
    async with serving(DONE) as house:
        first = await house.ask("One", session_id=session)
        await house.read(first["job_id"])
        second = await house.ask("Two", session_id=session)
        await house.read(second["job_id"])
        other = await house.ask("Three", session_id=session[:127] + "!")
        assert first["chat_id"] == second["chat_id"] != other["chat_id"]
        assert re.fullmatch(r"[\w-]{22,}", first["chat_id"], re.ASCII)
        chat = (await house.client.get(f"/api/v1/chat/{first['chat_id']}")).json()
        assert [i["content"] for i in chat["items"] if i["role"] == "user"] == ["One", "Two"]
        await house.client.delete(f"/api/v1/chat/{first['chat_id']}")
        anew = await house.ask("Four", session_id=session)
        assert anew["chat_id"] != first["chat_id"]


async def test_a_retry_asks_the_same_again_without_doubling_it() -> None:
    async with serving(Done("A2", "Because.")) as house:
        first = await house.ask("Why?")
        await house.read(first["job_id"])
        answer = await house.client.post(
            f"/api/v1/chat/{first['chat_id']}/messages", json={"retry_of": first["job_id"]}
        )
        assert answer.status_code == 202
        await house.read(answer.json()["job_id"])
        assert [question.job.message for question in house.pipeline.asked] == ["Why?", "Why?"]
        chat = (await house.client.get(f"/api/v1/chat/{first['chat_id']}")).json()
        assert [item["role"] for item in chat["items"]].count("user") == 1


@pytest.mark.parametrize("of", ["nobody", "../x", "가", "\r\n"])
async def test_a_retry_of_what_never_was_is_not_found(of: str) -> None:
    async with serving(DONE) as house:
        chat = await chat_of(house)
        url = f"/api/v1/chat/{chat}/messages"
        assert (await house.client.post(url, json={"retry_of": of})).status_code == 404


async def test_a_job_of_another_chat_is_not_retried_here() -> None:
    async with serving(DONE) as house:
        job, chat = await house.asked(), await chat_of(house)
        url = f"/api/v1/chat/{chat}/messages"
        assert (await house.client.post(url, json={"retry_of": job})).status_code == 404


async def test_ten_equal_requests_with_one_key_are_one_job() -> None:
    async with serving(DONE) as house:
        chat = await chat_of(house)
        url, key = f"/api/v1/chat/{chat}/messages", {"Idempotency-Key": "k 1"}
        answers = await asyncio.gather(
            *(house.client.post(url, json={"message": "Why?"}, headers=key) for _ in range(10))
        )
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.text for answer in answers}) == 1
        await house.read(answers[0].json()["job_id"])
        assert len(house.pipeline.asked) == 1
        other = await house.client.post(url, json={"message": "How?"}, headers=key)
        assert (other.status_code, other.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize("key", ["", "x" * 256, "é"])
async def test_a_key_that_cannot_be_kept_is_refused_by_name(key: str) -> None:
    async with serving(DONE) as house:
        answer = await house.client.post(
            "/api/v1/chat",
            json={"message": "Why?"},
            headers=[(b"Idempotency-Key", key.encode("latin-1"))],
        )
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith("Idempotency-Key: ")


async def test_the_rollout_is_drawn_per_chat_when_everybody_is_the_same_user() -> None:
    async with serving(DONE) as house:
        asked = await house.ask()
        assert house.flag.keys == [asked["chat_id"]]


async def test_only_models_on_offer_may_be_named() -> None:
    async with serving(DONE, models=frozenset({"small"})) as house:
        answer = await house.client.post("/api/v1/chat", json={"message": "a", "model": "big"})
        assert (answer.status_code, answer.json()["detail"][:7]) == (422, "model: ")
        assert (await house.ask(model="small"))["job_id"]
    async with serving(DONE, models=None) as house:
        assert (await house.ask(model="anything at all"))["job_id"]


async def test_a_full_service_says_when_to_come_back_and_keeps_nothing() -> None:
    gate = asyncio.Event()
    async with serving(gate, DONE, bounds=Bounds(running=1, queued=1)) as house:
        for _ in range(2):
            await house.ask()
        refused = await house.client.post("/api/v1/chat", json={"message": "a"})
        assert (refused.status_code, refused.json()["code"]) == (503, "busy")
        assert int(refused.headers["retry-after"]) >= 1
        assert len((await house.client.get("/api/v1/chat")).json()["items"]) == 2
        gate.set()
        await until(lambda: len(house.pipeline.asked) == 2)


async def test_a_user_with_too_much_waiting_is_told_so() -> None:
    gate = asyncio.Event()
    async with serving(gate, DONE, bounds=Bounds(user_running=1, user_queued=1)) as house:
        for _ in range(2):
            await house.ask()
        refused = await house.client.post("/api/v1/chat", json={"message": "a"})
        assert refused.status_code == 429
        assert refused.json()["code"] == "too_many_requests"
        assert int(refused.headers["retry-after"]) >= 1
        gate.set()


async def test_a_message_to_a_chat_that_never_was_is_not_found() -> None:
    async with serving(DONE) as house:
        answer = await house.client.post("/api/v1/chat/nobody/messages", json={"message": "a"})
        assert answer.status_code == 404
