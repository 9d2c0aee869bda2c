"""Who asks: ownership on every route, trusted headers, and the end of an identity."""

import asyncio
import json
import time
from ipaddress import ip_network
from typing import Any

import httpx2
import pytest

from sluice.domain.events import StageStarted
from sluice.interfaces.http.auth.identity import TrustedHeader
from tests.http.house import DONE, serving
from tests.http.who import LOOPBACK, bearer, by_secret, status


async def test_a_header_is_believed_from_a_trusted_peer_only() -> None:
    async with serving(identity=TrustedHeader(LOOPBACK)) as house:
        assert await status(house, {"X-User-ID": "ann"}) == 200
        assert await status(house) == 401
        for given in ("", "a\tb", "x" * 256):
            assert await status(house, {"X-User-ID": given}) == 401
        assert await status(house, [("X-User-ID", "ann"), ("X-User-ID", "bob")]) == 401
        assert await status(house, {"X-User-ID": "ann", "X-Forwarded-For": "9.9.9.9"}) == 200
    async with serving(identity=TrustedHeader([ip_network("10.0.0.0/8")])) as house:
        assert await status(house, {"X-User-ID": "ann", "X-Forwarded-For": "10.0.0.1"}) == 401


OWNED = [
    ("GET", "/api/v1/chat/{chat}", None),
    ("PATCH", "/api/v1/chat/{chat}", {"title": "mine"}),
    ("DELETE", "/api/v1/chat/{chat}", None),
    ("POST", "/api/v1/chat/{chat}/messages", {"message": "a"}),
    ("POST", "/api/v1/chat/{chat}/messages", {"retry_of": "{job}"}),
    ("GET", "/api/v1/jobs/{job}", None),
    ("DELETE", "/api/v1/jobs/{job}", None),
    ("POST", "/api/v1/chat/{job}/input", {"type": "cancel"}),
    ("GET", "/api/v1/chat/{job}/events", None),
    ("GET", "/api/v1/chat/{job}/events?last_event_id=1-1", None),
    *(("HEAD", f"/api/v1/{path}", None) for path in ("chat/{chat}", "jobs/{job}")),
    ("HEAD", "/api/v1/chat/{job}/events", None),
]


@pytest.mark.parametrize(("method", "path", "body"), OWNED)
async def test_what_is_anothers_is_like_what_never_was(method: str, path: str, body: Any) -> None:
    gate = asyncio.Event()
    ann, bob = {"X-User-ID": "ann"}, {"X-User-ID": "bob"}
    async with serving(gate, DONE, identity=TrustedHeader(LOOPBACK)) as house:
        asked = (
            await house.client.post("/api/v1/chat", json={"message": "Why?"}, headers=ann)
        ).json()

        async def answered(chat: str, job: str) -> httpx2.Response:
            url = path.format(chat=chat, job=job)
            given = json.loads(json.dumps(body).replace("{job}", job)) if body else None
            return await house.client.request(method, url, json=given, headers=bob)

        theirs = await answered(asked["chat_id"], asked["job_id"])
        nobodys = await answered("never-was", "never-was")
        assert theirs.status_code == nobodys.status_code == 404
        if method != "HEAD":
            assert theirs.json() | {"request_id": ""} == nobodys.json() | {"request_id": ""}
        assert _shape(theirs) == _shape(nobodys)
        mine = await house.client.get(f"/api/v1/jobs/{asked['job_id']}", headers=ann)
        assert mine.json()["status"] in {"queued", "running"}
        gate.set()


def _shape(answer: httpx2.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in _OWN}


_OWN = {"x-request-id", "date"}


async def test_lists_sessions_and_keys_belong_to_their_user() -> None:
    ann, bob = {"X-User-ID": "ann"}, {"X-User-ID": "bob"}
    async with serving(DONE, identity=TrustedHeader(LOOPBACK)) as house:
        asked = {}
        for name, who in (("ann", ann), ("bob", bob)):
            answer = await house.client.post(
                "/api/v1/chat",
                json={"message": "Why?", "session_id": "s"},
                headers=who | {"Idempotency-Key": "k"},
            )
            asked[name] = answer.json()
            items = (await house.client.get("/api/v1/chat", headers=who)).json()["items"]
            assert [chat["id"] for chat in items] == [asked[name]["chat_id"]]
        assert asked["ann"]["chat_id"] != asked["bob"]["chat_id"]
        assert asked["ann"]["job_id"] != asked["bob"]["job_id"]
        assert house.flag.keys == ["ann", "bob"]


async def test_a_stream_ends_when_its_readers_identity_does() -> None:
    async with serving(StageStarted("answer", 0), asyncio.Event(), identity=by_secret()) as house:
        asked = await house.client.post("/api/v1/chat", json={"message": "a"}, headers=bearer())
        # Its leeway is over in one to two seconds.
        headers = bearer(exp=int(time.time()) - 3)
        answer = await house.client.get(asked.json()["stream_url"], headers=headers)
        assert answer.status_code == 200
        assert b"event: stage" in answer.content
        assert b"event: cancelled" not in answer.content
        assert (house.streams.expired, house.streams.open) == (1, 0)
        job = await house.client.get(asked.headers["location"], headers=bearer())
        assert job.json()["status"] == "running"


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/readyz", "/metrics", "/docs", "/assets/app.js"]
)
async def test_what_needs_no_identity_asks_for_none(path: str) -> None:
    async with serving(identity=by_secret()) as house:
        assert await status(house, path=path) == 200


async def test_nobody_who_is_unknown_has_a_body_read() -> None:
    async with serving(identity=by_secret()) as house:
        reader, writer = await house.raw(
            "POST /api/v1/chat HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
        )
        assert b" 401 " in await reader.readline()
        writer.close()
