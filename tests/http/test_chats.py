"""Chats and jobs as their user sees them."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from sluice.application.scheduling import Bounds
from sluice.domain.errors import Unavailable
from sluice.domain.events import Done, StageStarted, Token, Usage
from tests.http.house import DONE, House, frames, serving
from tests.waiting import until


async def opened(house: House, title: str | None = None) -> dict[str, Any]:
    answer = await house.client.post("/api/v1/chat", json={"title": title})
    assert answer.status_code == 201
    body: dict[str, Any] = answer.json()
    return body


def moment(text: str) -> datetime:
    """RFC 3339 in UTC."""
    assert text.endswith("Z")
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"title": null}', b'{"title": "\xea\xb0\x80"}'])
async def test_a_chat_opens_without_a_question(body: bytes) -> None:
    async with serving() as house:
        answer = await house.client.post("/api/v1/chat", content=body)
        chat = answer.json()
        assert answer.status_code == 201
        assert set(chat) == {"id", "title", "created_at"}
        assert chat["title"] == ("가" if b"\xea" in body else None)
        assert len(chat["id"]) >= 22
        assert moment(chat["created_at"])
        assert answer.headers["location"] == f"/api/v1/chat/{chat['id']}"


async def test_a_chat_shows_its_messages_oldest_first() -> None:
    async with serving(Token("Because.", "answer"), Done("A2", "Because.")) as house:
        asked = await house.ask("Why?")
        await house.read(asked["job_id"])
        chat = (await house.client.get(f"/api/v1/chat/{asked['chat_id']}")).json()
        assert set(chat) == {"id", "title", "created_at", "active_job_id", "items"}
        assert chat["active_job_id"] is None
        question, answer = chat["items"]
        for item, role, content in (
            (question, "user", "Why?"),
            (answer, "assistant", "Because."),
        ):
            assert set(item) == {"id", "role", "content", "job_id", "status", "created_at"}
            assert (item["role"], item["content"]) == (role, content)
            assert item["job_id"] == asked["job_id"]
            assert moment(item["created_at"])
        assert answer["status"] == "completed"


async def test_a_chat_names_the_job_that_is_being_answered() -> None:
    gate = asyncio.Event()
    async with serving(gate, DONE) as house:
        asked = await house.ask()
        chat = (await house.client.get(f"/api/v1/chat/{asked['chat_id']}")).json()
        assert chat["active_job_id"] == asked["job_id"]
        gate.set()


async def test_a_list_is_read_page_by_page_newest_first_and_misses_nothing() -> None:
    async with serving() as house:
        ids = [(await opened(house, str(number)))["id"] for number in range(7)]
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await house.client.get("/api/v1/chat", params={"limit": "3", **cursor})).json()
            assert set(page) == {"items", "next_cursor"}
            seen += [chat["id"] for chat in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert seen == ids[::-1]


async def test_a_last_page_that_is_full_is_the_last() -> None:
    async with serving() as house:
        for _ in range(2):
            await opened(house)
        page = (await house.client.get("/api/v1/chat?limit=2")).json()
        assert (len(page["items"]), page["next_cursor"]) == (2, None)


async def test_a_chat_is_renamed_and_loses_its_name() -> None:
    async with serving() as house:
        chat = await opened(house, "old")
        for title in ("새 이름", None):
            url = f"/api/v1/chat/{chat['id']}"
            answer = await house.client.patch(url, json={"title": title})
            assert (answer.status_code, answer.content) == (204, b"")
            assert (await house.client.get(url)).json()["title"] == title
        assert (await house.client.patch(url, json={})).status_code == 422


async def test_a_deleted_chat_takes_its_jobs_with_it() -> None:
    async with serving(StageStarted("answer", 0), asyncio.Event()) as house:
        asked = await house.ask("Why?")
        await until(lambda: house.pipeline.asked)
        url = f"/api/v1/chat/{asked['chat_id']}"
        answer = await house.client.delete(url)
        assert (answer.status_code, answer.content) == (204, b"")
        for gone in (url, f"/api/v1/jobs/{asked['job_id']}", asked["stream_url"]):
            assert (await house.client.get(gone)).status_code == 404
        assert (await house.client.delete(url)).status_code == 404
        await until(lambda: house.pipeline.closed == 1)


async def test_a_completed_job_has_an_answer_and_what_it_cost() -> None:
    end = Done("A2", "ab", finish_reason="stop", usage=Usage(1, 2, 3))
    async with serving(Token("a", "answer"), Token("b", "answer"), end) as house:
        asked = await house.ask()
        await house.read(asked["job_id"])
        job = (await house.client.get(f"/api/v1/jobs/{asked['job_id']}")).json()
        assert moment(job.pop("created_at")) <= moment(job.pop("ended_at"))
        assert job.pop("flag") == {
            "share": 50, "reason": "split", "source": "env", "rollout": None,
        }  # fmt: skip
        assert job == {
            "job_id": asked["job_id"],
            "chat_id": asked["chat_id"],
            "path": "A2",
            "status": "completed",
            "answer": "ab",
            "partial": None,
            "finish_reason": "stop",
            "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
            "error": None,
            "last_event_id": "1-4",
        }


async def test_a_running_job_shows_the_text_so_far() -> None:
    gate = asyncio.Event()
    async with serving(StageStarted("answer", 0), Token("a", "answer"), gate, DONE) as house:
        job = (await house.ask())["job_id"]
        async with house.client.stream("GET", f"/api/v1/chat/{job}/events") as answer:
            body = b""
            async for piece in answer.aiter_raw():
                body += piece
                if b"event: token" in body:
                    break
        view = (await house.client.get(f"/api/v1/jobs/{job}")).json()
        assert (view["status"], view["partial"], view["answer"]) == ("running", "a", None)
        assert (view["ended_at"], view["last_event_id"]) == (None, "1-3")
        gate.set()


async def test_a_failed_job_says_what_a_user_may_know() -> None:
    async with serving(Token("a", "answer"), ValueError("secret")) as house:
        job = await house.asked()
        answer = await house.client.get(f"/api/v1/jobs/{job}")
        view = answer.json()
        assert (view["status"], view["partial"], view["answer"]) == ("failed", "a", None)
        assert set(view["error"]) == {"code", "message", "retryable"}
        assert view["error"]["code"] == "internal"
        assert "secret" not in answer.text


@pytest.mark.parametrize("way", ["delete", "input"])
async def test_a_job_is_stopped_once_however_often_it_is_asked(way: str) -> None:
    async with serving(Token("a", "answer"), asyncio.Event()) as house:
        job = (await house.ask())["job_id"]
        reading = asyncio.create_task(house.read(job))
        async with asyncio.timeout(5):
            while (await house.client.get(f"/api/v1/jobs/{job}")).json()["partial"] != "a":
                pass
        for _ in range(3):
            if way == "delete":
                answer = await house.client.delete(f"/api/v1/jobs/{job}")
            else:
                url = f"/api/v1/chat/{job}/input"
                answer = await house.client.post(url, json={"type": "cancel"})
            assert answer.status_code == 202
        events = await reading
        assert [event.event for event in events].count("cancelled") == 1
        assert events[-1].data == {"status": "cancelled", "reason": "user"}
        view = (await house.client.get(f"/api/v1/jobs/{job}")).json()
        assert (view["status"], view["partial"], view["error"]) == ("cancelled", "a", None)


async def test_a_job_that_waits_for_its_turn_is_stopped_too() -> None:
    gate = asyncio.Event()
    async with serving(gate, DONE, bounds=Bounds(running=1)) as house:
        await house.ask()
        waiting = (await house.ask())["job_id"]
        view = (await house.client.get(f"/api/v1/jobs/{waiting}")).json()
        assert (view["status"], view["partial"]) == ("queued", None)
        await house.client.delete(f"/api/v1/jobs/{waiting}")
        events = await house.read(waiting)
        assert [event.event for event in events] == ["stage", "cancelled"]
        gate.set()


async def test_while_the_store_is_down_a_job_cannot_be_shown_for_now() -> None:
    async with serving(DONE) as house:
        job = await house.asked()
        house.log.failure = Unavailable("the address of the store")
        for method in ("GET", "DELETE"):
            answer = await house.client.request(method, f"/api/v1/jobs/{job}")
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            assert "address" not in answer.text


async def test_the_stream_of_a_chats_answer_is_what_its_url_says() -> None:
    async with serving(DONE) as house:
        asked = await house.ask()
        answer = await house.client.get(asked["stream_url"])
        assert frames(answer.content)[-1].event == "done"
