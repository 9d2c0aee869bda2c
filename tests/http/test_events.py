"""Reading a job's log over HTTP: live, late, resumed, from any cursor."""

import asyncio
from typing import Any

import pytest

from sluice.domain.events import Done, Reset, Token
from sluice.interfaces.protocols.native.encoder import KEEPALIVE
from tests.http.house import (
    ANSWER,
    DONE,
    STARTED,
    TOLD,
    WORDS,
    Frame,
    frames,
    path,
    serving,
    text,
)
from tests.waiting import until


async def test_headers_and_the_first_byte_leave_before_the_model_says_anything() -> None:
    gate = asyncio.Event()
    async with serving(gate, DONE) as house:
        job = (await house.ask())["job_id"]
        async with house.client.stream("GET", path(job)) as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert answer.headers["cache-control"] == "no-store, no-transform"
            assert answer.headers["x-accel-buffering"] == "no"
            assert answer.headers["x-request-id"]
            assert "content-encoding" not in answer.headers
            pieces = answer.aiter_raw()
            body = await anext(pieces)
            while b"queued" not in body:
                body += await anext(pieces)
            assert body.startswith(b"retry: 1000\n\n")
            gate.set()
            body += b"".join([piece async for piece in pieces])
        assert [frame.event for frame in frames(body)] == ["stage", "done"]


async def test_a_stream_holds_every_event_once_in_order_and_ends_properly() -> None:
    async with serving(*TOLD) as house:
        events = await house.read((await house.ask())["job_id"])
        assert events[0] == Frame(
            "stage", "1-1", {"stage": "queued", "status": "completed", "progress": 0}
        )
        assert text(events) == ANSWER
        assert [event.event for event in events][-1] == "done"
        assert events[-1].data["answer"] == ANSWER


async def test_a_live_reader_gets_a_token_while_the_model_still_speaks() -> None:
    gate = asyncio.Event()
    async with serving(STARTED, WORDS[0], gate, *WORDS[1:], Done("A2", ANSWER)) as house:
        job = (await house.ask())["job_id"]
        async with house.client.stream("GET", path(job)) as answer:
            pieces = answer.aiter_raw()
            body = b""
            while "무색".encode() not in body:
                body += await anext(pieces)
            assert not gate.is_set()
            gate.set()
            body += b"".join([piece async for piece in pieces])
        assert text(frames(body)) == ANSWER


@pytest.mark.parametrize("by", ["header", "query"])
async def test_a_reader_resumes_after_every_event_without_a_gap_or_a_repeat(by: str) -> None:
    async with serving(*TOLD) as house:
        job = await house.asked()
        for seq in range(1, len(TOLD) + 1):
            cursor = f"1-{seq}"
            given: Any = {"header": {"headers": {"Last-Event-ID": cursor}}}
            given["query"] = {"params": {"last_event_id": cursor}}
            events = await house.read(job, **given[by])
            spoken = [play.content for play in TOLD[seq - 1 :] if isinstance(play, Token)]
            assert text(events) == "".join(spoken)
            assert events[-1].event == "done"
            assert all(int(event.id.split("-")[1]) > seq for event in events if event.id)
        assert house.streams.resumes == len(TOLD)


async def test_the_cursor_of_the_terminal_event_has_nothing_behind_it() -> None:
    async with serving(*TOLD) as house:
        job = await house.asked()
        last = {"Last-Event-ID": f"1-{len(TOLD) + 1}"}
        answer = await house.client.get(path(job), headers=last)
        assert (answer.status_code, answer.content) == (204, b"")
        assert (await house.client.head(path(job), headers=last)).status_code == 204


@pytest.mark.parametrize("cursor", ["", "1-0"])
async def test_no_cursor_an_empty_one_and_1_0_mean_the_beginning(cursor: str) -> None:
    async with serving(*TOLD) as house:
        job = await house.asked()
        whole = await house.read(job)
        assert await house.read(job, params={"last_event_id": cursor}) == whole
        assert await house.read(job, headers={"Last-Event-ID": cursor}) == whole


@pytest.mark.parametrize(
    "cursor",
    [
        "garbage", "1", "1-", "-1", "01-1", "1-01", "0-1", "1-99", "2-1", "2-0", "1-1 ", "１-１",
        "1-1\x0b", "9" * 5000 + "-1", f"1-{2**63}", "1-1,1-2", "+1-1", "1-1e0", "null", "%00",
    ],
)  # fmt: skip
async def test_a_cursor_that_the_log_does_not_hold_gives_a_reset_and_everything(
    cursor: str,
) -> None:
    async with serving(*TOLD) as house:
        job = await house.asked()
        whole = await house.read(job)
        told = await house.read(job, params={"last_event_id": cursor})
        assert told == [Frame("reset", "1-0", {"reason": "cursor_unknown"}), *whole]
        assert house.streams.resets == 1


async def test_behind_the_end_the_connection_is_closed() -> None:
    gate = asyncio.Event()
    async with serving(Token("a", "answer"), gate, Token("b", "answer"), DONE) as house:
        job = (await house.ask())["job_id"]
        reader, writer = await house.raw(f"GET {path(job)} HTTP/1.1\r\nHost: x\r\n\r\n")
        got = await reader.readuntil(b'"a"')
        gate.set()
        async with asyncio.timeout(5):
            got += await reader.read()
        assert got.endswith(b"\r\n0\r\n\r\n")
        assert got.count(b"event: done") == 1
        writer.close()


async def test_space_around_a_header_is_none_of_its_value() -> None:
    async with serving(*TOLD) as house:
        job = await house.asked()
        end = f"1-{len(TOLD) + 1}"
        reader, writer = await house.raw(
            f"GET {path(job)} HTTP/1.1\r\nHost: x\r\nLast-Event-ID: \t {end} \t\r\n\r\n"
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 204 ")
        writer.close()


async def test_the_header_wins_over_the_query() -> None:
    async with serving(*TOLD) as house:
        job = await house.asked()
        events = await house.read(
            job, headers={"Last-Event-ID": "1-3"}, params={"last_event_id": "1-1"}
        )
        assert events == await house.read(job, headers={"Last-Event-ID": "1-3"})


@pytest.mark.parametrize(
    ("query", "after"),
    [
        ("lastEventId=1-3", "1-3"),
        ("lastEventId=1-2&last_event_id=1-3", "1-3"),
        ("last_event_id=1-2&lastEventId=1-3", "1-3"),
        ("last_event_id=1-2&last_event_id=1-3", "1-3"),
        ("lastEventId=1-2&x=1&lastEventId=1-3", "1-3"),
        ("lastEventId=garbage&last_event_id=1-3", "1-3"),
        ("lastEventId=1-3&last_event_id=", None),
        ("lasteventid=1-3", None),
    ],
)
async def test_the_query_takes_either_name_and_of_several_the_last(
    query: str, after: str | None
) -> None:
    async with serving(*TOLD) as house:
        job = await house.asked()
        expected = await house.read(job, headers={"Last-Event-ID": after} if after else {})
        answer = await house.client.get(f"{path(job)}?{query}")
        assert frames(answer.content) == expected
        header = await house.client.get(f"{path(job)}?{query}", headers={"Last-Event-ID": "1-1"})
        assert frames(header.content) == await house.read(job, headers={"Last-Event-ID": "1-1"})


async def test_of_several_headers_the_last_counts() -> None:
    async with serving(*TOLD) as house:
        job = await house.asked()
        several: Any = [("Last-Event-ID", "1-1"), ("Last-Event-ID", "1-3")]
        expected = await house.read(job, headers={"Last-Event-ID": "1-3"})
        assert await house.read(job, headers=several) == expected
        empty = [*several, ("Last-Event-ID", "")]
        assert await house.read(job, headers=empty) == await house.read(job)


async def test_a_job_that_never_was_is_a_problem_and_not_a_stream() -> None:
    async with serving() as house:
        answer = await house.client.get(path("AAAAAAAAAAAAAAAAAAAAAA"))
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


async def test_silence_is_filled_with_keepalives() -> None:
    gate = asyncio.Event()
    async with serving(gate, DONE, ping=0.01) as house:
        job = (await house.ask())["job_id"]
        async with house.client.stream("GET", path(job)) as answer:
            pieces = answer.aiter_raw()
            body = b""
            while body.count(KEEPALIVE) < 3:
                body += await anext(pieces)
            gate.set()
            body += b"".join([piece async for piece in pieces])
        alive = [frame for frame in frames(body) if frame.event == "keepalive"]
        assert set(map(repr, alive)) == {repr(Frame("keepalive", None, {}))}


async def test_five_readers_early_late_and_resumed_end_with_the_same_text() -> None:
    gate = asyncio.Event()
    async with serving(STARTED, *WORDS[:2], gate, *WORDS[2:], Done("A2", ANSWER)) as house:
        job = (await house.ask())["job_id"]
        early = [asyncio.create_task(house.read(job)) for _ in range(3)]
        await until(lambda: house.streams.open == 3)
        gate.set()
        late = await house.read(job)
        resumed = await house.read(job, headers={"Last-Event-ID": "1-3"})
        for events in (*[await reader for reader in early], late):
            assert text(events) == ANSWER
        assert text(resumed) == ANSWER.removeprefix(WORDS[0].content)


async def test_a_reset_in_the_log_is_told_as_it_stands() -> None:
    async with serving(Token("wrong", "answer"), Reset("revised"), WORDS[0], DONE) as house:
        events = await house.read(await house.asked())
        assert text(events) == WORDS[0].content
        assert house.streams.resets == 0


async def test_seven_tabs_read_at_once() -> None:
    gate = asyncio.Event()
    async with serving(*TOLD[:-1], gate, TOLD[-1]) as house:
        job = (await house.ask())["job_id"]
        tabs = [asyncio.create_task(house.read(job)) for _ in range(7)]
        await until(lambda: house.streams.open == 7)
        gate.set()
        assert {text(await tab) for tab in tabs} == {ANSWER}
