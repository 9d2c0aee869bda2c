"""One request: a question whose answer is the job's stream itself."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest

from sluice.application.scheduling import Bounds
from sluice.domain.errors import NotFound, Unavailable
from sluice.domain.events import Done, Token
from sluice.interfaces.http.accept import prefers_stream
from sluice.interfaces.http.server.head_limit import MAX_HEAD_BYTES
from tests.http.house import ANSWER, DONE, STARTED, TOLD, House, frames, path, serving, text
from tests.http.who import bearer, by_secret
from tests.waiting import until

STREAM = {"Accept": "text/event-stream"}
ASKED = {"message": "Why?"}


async def asking(house: House, **headers: str) -> Any:
    return await house.client.post("/api/v1/chat", json=ASKED, headers=STREAM | headers)


async def test_the_answer_to_a_question_is_its_jobs_stream() -> None:
    async with serving(*TOLD) as house:
        answer = await asking(house)
        job = answer.headers["x-sluice-job"]
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store, no-transform"
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["location"] == f"/api/v1/jobs/{job}"
        assert answer.headers["content-location"] == path(job)
        assert answer.text.startswith("retry: 1000\n\n")
        events = frames(answer.content)
        assert text(events) == ANSWER
        assert events[0].id == "1-1"
        shown = (await house.client.get(answer.headers["location"])).json()
        assert (shown["job_id"], shown["answer"]) == (job, ANSWER)
        chat = f"/api/v1/chat/{shown['chat_id']}/messages"
        next_one = await house.client.post(chat, json=ASKED, headers=STREAM)
        assert text(frames(next_one.content)) == ANSWER
        again = {"retry_of": next_one.headers["x-sluice-job"]}
        retried = await house.client.post(chat, json=again, headers=STREAM)
        assert text(frames(retried.content)) == ANSWER
        shown = (await house.client.get(f"/api/v1/chat/{shown['chat_id']}")).json()
        assert [item["role"] for item in shown["items"]].count("user") == 2


async def test_the_head_leaves_before_the_model_says_anything_and_tokens_as_they_come() -> None:
    first, second = asyncio.Event(), asyncio.Event()
    plays = first, Token("a", "answer"), second, Token("b", "answer"), Done("A2", "ab")
    async with (
        serving(*plays) as house,
        house.client.stream("POST", "/api/v1/chat", json=ASKED, headers=STREAM) as answer,
    ):
        pieces, body = answer.aiter_raw(), b""
        while b"queued" not in body:
            body += await anext(pieces)
        first.set()
        while b'"a"' not in body:
            body += await anext(pieces)
        second.set()
        body += b"".join([piece async for piece in pieces])
        assert text(frames(body)) == "ab"


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/html"])
async def test_who_does_not_ask_for_a_stream_is_told_where_it_is(accept: str | None) -> None:
    async with serving(*TOLD) as house:
        headers = {} if accept is None else {"Accept": accept}
        answer = await house.client.post("/api/v1/chat", json=ASKED, headers=headers)
        body = answer.json()
        assert answer.status_code == 202
        assert answer.headers["x-sluice-job"] == body["job_id"]
        assert answer.headers["location"] == f"/api/v1/jobs/{body['job_id']}"
        assert "content-location" not in answer.headers
        assert body["stream_url"] == path(body["job_id"])


async def test_a_chat_without_a_question_has_no_stream() -> None:
    async with serving() as house:
        answer = await house.client.post("/api/v1/chat", json={"title": "Mine"}, headers=STREAM)
        assert (answer.status_code, answer.json()["title"]) == (201, "Mine")
        assert answer.headers["location"] == f"/api/v1/chat/{answer.json()['id']}"


@pytest.mark.parametrize(
    ("accept", "stream"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream", True),
        ("text/event-stream; charset=utf-8", True),
        ('text/event-stream;note="a,b;q=0"', True),
        ("text/event-stream;q=0.001", True),
        (" , text/event-stream ,", True),
        ("text/*", True),
        ("text/event-stream, */*", True),
        ("text/event-stream, application/json", True),
        ("application/json, text/event-stream", True),
        ("application/json;q=0.9, text/event-stream", True),
        ("application/*;q=0.5, text/*;q=0.6", True),
        ("text/event-stream;q=0.5, */*;q=0.1", True),
        ("application/json;q=0, */*", True),
        ("", False),
        ("*/*", False),
        ("application/json, text/plain, */*", False),
        ("application/json, text/event-stream;q=0.9", False),
        ("text/event-stream;Q=0.5, application/json", False),
        ("text/event-stream;q=0.5, */*", False),
        ("text/event-stream;q=0.1, text/*, application/json;q=0.5", False),
        ("text/event-stream;q=0", False),
        ("text/event-stream;q=0.000, */*;q=0", False),
        ("text/event-stream;q=2", False),
        ("text/event-stream;q=much", False),
        ("text/event-streams", False),
        ("application/text/event-stream", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
    ],
)
def test_a_stream_is_the_answer_where_http_says_that_it_is_preferred(
    accept: str, *, stream: bool
) -> None:
    assert prefers_stream(accept) is stream


@pytest.mark.parametrize("quoted", ['\\"', '"\\', '";', "x;", ';a="'])
def test_no_header_takes_longer_than_it_is_long(quoted: str) -> None:
    """Where each quote were looked for to the end, a minute would pass."""
    assert not prefers_stream(quoted * (MAX_HEAD_BYTES // len(quoted)))


async def test_ranges_in_several_fields_are_one_list() -> None:
    async with serving(*TOLD) as house:
        fields = [("Accept", "application/json;q=0.5"), ("Accept", "text/event-stream")]
        answer = await house.client.post("/api/v1/chat", json=ASKED, headers=fields)
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"json": {"message": " "}}, 422, "invalid_field"),
        ({"json": {"message": "a", "model": "big"}}, 422, "invalid_field"),
        ({"json": {"message": "a", "extra": 1}}, 422, "invalid_field"),
        ({"content": b"{"}, 400, "invalid_json"),
        ({"json": {"message": "a" * 70_000}}, 413, "too_large"),
        ({"json": ASKED, "headers": {"Origin": "https://evil.example"}}, 403, "forbidden"),
        ({"content": b"a", "headers": {"Content-Type": "text/plain"}}, 415, None),
    ],
)
async def test_what_is_wrong_with_a_question_is_a_problem_and_no_stream(
    request_: Mapping[str, Any], status: int, code: str | None
) -> None:
    async with serving(*TOLD) as house:
        headers = STREAM | request_.get("headers", {})
        answer = await house.client.post("/api/v1/chat", **{**request_, "headers": headers})
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert code is None or answer.json()["code"] == code
        assert house.pipeline.asked == []


async def test_nobodys_chat_and_nobodys_name_are_as_without_a_stream() -> None:
    async with serving(*TOLD, identity=by_secret()) as house:
        assert (await asking(house)).status_code == 401
        mine = bearer(sub="ann")
        job = (await asking(house, **mine)).headers["x-sluice-job"]
        shown = await house.client.get(f"/api/v1/jobs/{job}", headers=mine)
        chat = f"/api/v1/chat/{shown.json()['chat_id']}/messages"
        for url, who in ((chat, bearer(sub="bob")), ("/api/v1/chat/nobody/messages", mine)):
            answer = await house.client.post(url, json=ASKED, headers=STREAM | who)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert (await house.client.get(path(job), headers=bearer(sub="bob"))).status_code == 404


async def test_a_full_service_says_when_to_come_back() -> None:
    async with serving(asyncio.Event(), bounds=Bounds(running=1, queued=1)) as house:
        for _ in range(2):
            await house.ask()
        refused = await asking(house)
        assert (refused.status_code, refused.json()["code"]) == (503, "busy")
        assert int(refused.headers["retry-after"]) >= 1
        assert house.follow.open.total() == 0


async def test_a_stream_too_many_takes_no_job() -> None:
    gate = asyncio.Event()
    async with serving(gate, DONE, streams=1) as house:
        async with house.client.stream("POST", "/api/v1/chat", json=ASKED, headers=STREAM):
            refused = await asking(house)
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
            assert int(refused.headers["retry-after"]) >= 1
            assert len((await house.client.get("/api/v1/chat")).json()["items"]) == 1
        gate.set()
        await until(lambda: not house.follow.open)
        assert (await asking(house)).status_code == 200


async def test_ten_at_once_with_one_key_read_one_job_within_the_bound_of_streams() -> None:
    gate = asyncio.Event()
    async with serving(gate, *TOLD, streams=4) as house:
        readers = [asyncio.create_task(asking(house, **{"Idempotency-Key": "k"})) for _ in "x" * 10]
        await until(lambda: house.streams.open == 4 and sum(r.done() for r in readers) == 6)
        gate.set()
        answers = await asyncio.gather(*readers)
        assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429] * 6
        read = [answer for answer in answers if answer.status_code == 200]
        assert len({answer.headers["x-sluice-job"] for answer in read}) == 1
        assert {text(frames(answer.content)) for answer in read} == {ANSWER}
        assert len(house.pipeline.asked) == 1


async def test_the_same_key_again_attaches_to_the_job_that_is_there_ended_too() -> None:
    async with serving(*TOLD) as house:
        key = {"Idempotency-Key": "k"}
        accepted = await house.client.post("/api/v1/chat", json=ASKED, headers=key)
        job = accepted.json()["job_id"]
        whole = await house.read(job)
        for _ in range(2):
            again = await asking(house, **key)
            assert again.headers["x-sluice-job"] == job
            assert frames(again.content) == whole
        went_on = await asking(house, **key, **{"Last-Event-ID": "1-3"})
        assert frames(went_on.content) == await house.read(job, headers={"Last-Event-ID": "1-3"})
        over = await asking(house, **key, **{"Last-Event-ID": str(whole[-1].id)})
        assert (over.status_code, over.headers["x-sluice-job"]) == (204, job)
        other = await house.client.post("/api/v1/chat", json={"message": "How?"}, headers=key)
        assert other.status_code == 409
        assert len(house.pipeline.asked) == 1


async def test_the_cursor_of_another_job_means_nothing_to_a_new_one() -> None:
    async with serving(*TOLD) as house:
        answer = await asking(house, **{"Last-Event-ID": "1-1"})
        assert frames(answer.content)[0].id == "1-1"


async def test_a_key_whose_job_is_past_its_retention_is_a_problem() -> None:
    async with serving(*TOLD) as house:
        key = {"Idempotency-Key": "k"}
        job = (await asking(house, **key)).headers["x-sluice-job"]
        house.log._logs.pop(job)
        with pytest.raises(NotFound):
            await house.log.job(job)
        answer = await asking(house, **key)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert house.follow.open.total() == 0


async def test_a_reader_that_is_cut_goes_on_at_its_stream() -> None:
    gate = asyncio.Event()
    async with serving(STARTED, TOLD[1], gate, *TOLD[2:]) as house:
        request = house.client.stream("POST", "/api/v1/chat", json=ASKED, headers=STREAM)
        body = b""
        async with request as answer:
            pieces = answer.aiter_raw()
            while b"event: token" not in body:
                body += await anext(pieces)
        had = frames(body[: body.rindex(b"\n\n") + 2])
        gate.set()
        rest = await house.client.get(
            answer.headers["content-location"], headers={"Last-Event-ID": str(had[-1].id)}
        )
        assert text([*had, *frames(rest.content)]) == ANSWER


async def test_while_the_store_is_away_the_job_that_was_taken_is_not_lost() -> None:
    async with serving(*TOLD) as house:
        house.log.breaking = Unavailable("the address of the store")
        answer = await asking(house)
        assert answer.status_code == 200
        assert 1000 <= int(answer.text.split("retry: ")[-1]) <= 5000
        house.log.breaking = None
        assert text(await house.read(answer.headers["x-sluice-job"])) == ANSWER


async def test_a_log_that_goes_away_behind_the_question_is_told_as_on_the_native_route() -> None:
    async with serving(*TOLD) as house:
        key = {"Idempotency-Key": "k"}
        taken = await house.client.post("/api/v1/chat", json=ASKED, headers=key)
        await house.read(taken.json()["job_id"])
        house.log.unfollowable = True
        answer = await asking(house, **key)
        assert (answer.status_code, frames(answer.content)) == (200, [])
        assert answer.headers["content-location"] == path(taken.json()["job_id"])
        assert 1000 <= int(answer.text.removeprefix("retry: ")) <= 5000
        assert house.follow.open.total() == 0


async def test_a_service_that_leaves_ends_the_stream_properly_and_then_takes_no_question() -> None:
    async with serving(STARTED, asyncio.Event()) as house:
        reading = asyncio.create_task(asking(house))
        await until(lambda: house.streams.open)
        house.log.hang_up()
        answer = await reading
        assert 1000 <= int(answer.text.split("retry: ")[-1]) <= 5000
        assert frames(answer.content)[-1].event == "stage"


async def test_a_stream_ends_with_its_readers_identity() -> None:
    async with serving(STARTED, asyncio.Event(), identity=by_secret()) as house:
        # Its leeway is over in one to two seconds.
        answer = await asking(house, **bearer(exp=int(time.time()) - 3))
        assert [frame.event for frame in frames(answer.content)] == ["stage", "stage"]
        assert house.streams.expired == 1


async def test_a_client_of_http_1_0_gets_the_bare_stream() -> None:
    async with serving(*TOLD) as house:
        body = b'{"message":"Why?"}'
        reader, writer = await house.raw(
            b"POST /api/v1/chat HTTP/1.0\r\nAccept: text/event-stream\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        head, _, got = (await reader.read()).partition(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0]
        assert b"transfer-encoding" not in head.lower()
        assert text(frames(got)) == ANSWER
        writer.close()


async def test_who_leaves_leaves_the_job_running_and_nothing_else_behind() -> None:
    async with serving(STARTED, asyncio.Event()) as house:
        async with house.client.stream("POST", "/api/v1/chat", json=ASKED, headers=STREAM) as read:
            job = read.headers["x-sluice-job"]
        await until(lambda: not house.streams.open)
        assert house.follow.open.total() == 0
        shown = (await house.client.get(f"/api/v1/jobs/{job}")).json()
        assert shown["status"] == "running"


@pytest.mark.parametrize("url", ["/api/v1/chat", "/api/v1/chat/any/messages"])
async def test_other_methods_are_as_they_were(url: str) -> None:
    async with serving() as house:
        allowed = (await house.client.options(url, headers=STREAM)).headers["allow"]
        listed = url.endswith("chat")
        assert allowed == ("GET, HEAD, POST" if listed else "POST")
        head = await house.client.head(url, headers=STREAM)
        assert head.status_code == (200 if listed else 405)


async def test_the_documentation_tells_both_answers() -> None:
    async with serving() as house:
        document = (await house.client.get("/openapi.json")).json()
        for url in ("/api/v1/chat", "/api/v1/chat/{chat_id}/messages"):
            answers = document["paths"][url]["post"]["responses"]
            assert {"text/event-stream"} == answers["200"]["content"].keys()
            text = {"type": "string"}
            job = {
                "Location": {"description": "The job", "schema": text},
                "X-Sluice-Job": {"description": "The job's id", "schema": text},
            }
            there = {"description": "The stream, to go on at after a cut", "schema": text}
            assert answers["200"]["headers"] == {**job, "Content-Location": there}
            assert answers["202"]["headers"] == job
            assert {"application/json"} == answers["202"]["content"].keys()
