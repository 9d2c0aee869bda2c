"""Reading a job's log over HTTP: live, late, resumed, refused, left."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx2
import pytest

from application.wire import KEEPALIVE, record
from domain.errors import Unavailable
from domain.events import Cursor, Done, Reset, StageCompleted, StageStarted, Token
from interfaces.http.services import StreamStats
from interfaces.http.sse import EventStream
from tests.http.house import DONE, Frame, House, frames, serving, text, until

STARTED, COMPLETED = StageStarted("answer", 10), StageCompleted("answer", 100)
WORDS = [Token(word, "answer") for word in ("무색 ", "페트병", "은 ", "data: x\n\nevent: done\r\n")]
ANSWER = "".join(token.content for token in WORDS)
TOLD = (STARTED, *WORDS, COMPLETED, Done("A2", ANSWER))


def path(job: str) -> str:
    return f"/api/v1/chat/{job}/events"


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


async def test_the_header_wins_over_the_query() -> None:
    async with serving(*TOLD) as house:
        job = await house.asked()
        events = await house.read(
            job, headers={"Last-Event-ID": "1-3"}, params={"last_event_id": "1-1"}
        )
        assert events == await house.read(job, headers={"Last-Event-ID": "1-3"})


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


async def test_head_answers_without_a_body_and_without_a_reader() -> None:
    gate = asyncio.Event()
    async with serving(gate, DONE) as house:
        job = (await house.ask())["job_id"]
        answer = await house.client.head(path(job))
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.content == b""
        assert (house.streams.open, house.follow.open.total()) == (0, 0)
        assert (await house.client.head(path("nobody"))).status_code == 404
        gate.set()


async def test_options_says_what_can_be_done() -> None:
    async with serving() as house:
        answer = await house.client.options(path("any"))
        assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD")


async def test_a_client_of_http_1_0_gets_the_bare_stream() -> None:
    async with serving(*TOLD) as house:
        job = await house.asked()
        reader, writer = await house.raw(f"GET {path(job)} HTTP/1.0\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0]
        assert b"transfer-encoding" not in head.lower()
        assert b"keep-alive" not in head.lower()
        assert text(frames(body)) == ANSWER
        writer.close()


async def test_a_client_of_http_1_0_gets_other_answers_whole() -> None:
    async with serving(*TOLD) as house:
        for request in ("GET /healthz", "HEAD /healthz", "GET /nowhere"):
            reader, writer = await house.raw(f"{request} HTTP/1.0\r\n\r\n")
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            length = int(httpx2.Headers(_fields(head))["content-length"])
            assert len(body) == (0 if request.startswith("HEAD") else length)
            writer.close()


def _fields(head: bytes) -> list[tuple[bytes, bytes]]:
    lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
    return [(name, value) for name, _, value in lines]


async def test_while_the_store_is_down_a_reader_is_told_to_come_back() -> None:
    async with serving(*TOLD) as house:
        job = await house.asked()
        house.log.failure = Unavailable("the address of the store")
        answer = await house.client.get(path(job))
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert frames(answer.content) == []
        assert 1000 <= int(answer.text.removeprefix("retry: ")) <= 5000
        assert (await house.client.head(path(job))).status_code == 200


async def test_a_store_that_goes_down_in_mid_stream_ends_it_properly_with_a_retry() -> None:
    async with serving(*TOLD) as house:
        job = await house.asked()
        house.log.breaking = Unavailable("the address of the store")
        answer = await house.client.get(path(job))
        assert [frame.event for frame in frames(answer.content)] == ["stage"]
        assert 1000 <= int(answer.text.split("retry: ")[-1]) <= 5000


async def test_when_the_service_leaves_a_stream_ends_properly_with_a_jittered_retry() -> None:
    async with serving(STARTED, asyncio.Event()) as house:
        job = (await house.ask())["job_id"]
        endings = []
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(house.client.get(path(job))) for _ in range(10)]
            await until(lambda: house.streams.open == 10)
            house.log.hang_up()
        for reader in readers:
            first, *_, last = reader.result().text.removesuffix("\n\n").split("\n\n")
            assert first == "retry: 1000"
            endings.append(int(last.removeprefix("retry: ")))
        assert all(1000 <= ending <= 5000 for ending in endings)
        assert len(set(endings)) > 1
        late = await house.client.get(path(job))
        assert (late.status_code, late.text[:7]) == (200, "retry: ")


async def test_a_deleted_chats_stream_ends_properly() -> None:
    async with serving(STARTED, asyncio.Event()) as house:
        asked = await house.ask()
        reading = asyncio.create_task(house.read(asked["job_id"]))
        await until(lambda: house.streams.open)
        deleted = await house.client.delete(f"/api/v1/chat/{asked['chat_id']}")
        assert deleted.status_code == 204
        assert [event.event for event in await reading][-1] == "cancelled"
        assert (await house.client.get(path(asked["job_id"]))).status_code == 404


async def test_more_streams_than_a_user_may_have_are_refused_with_a_time_to_wait() -> None:
    async with serving(STARTED, asyncio.Event(), streams=1) as house:
        job = (await house.ask())["job_id"]
        async with house.client.stream("GET", path(job)) as first:
            await until(lambda: house.streams.open)
            second = await house.client.get(path(job))
            assert second.status_code == 429
            assert int(second.headers["retry-after"]) >= 1
            assert second.json()["code"] == "too_many_requests"
            assert first.status_code == 200
        await until(lambda: not house.streams.open)
        async with house.client.stream("GET", path(job)) as third:
            assert third.status_code == 200


@pytest.mark.parametrize("after", [b"", b"HTTP/1.1 200", b"retry", b"queued", b'progress":10'])
async def test_a_reader_may_leave_at_any_point_and_nothing_of_it_stays(after: bytes) -> None:
    before = set(asyncio.all_tasks())
    async with serving(STARTED, asyncio.Event()) as house:
        job = (await house.ask())["job_id"]
        reader, writer = await house.raw(f"GET {path(job)} HTTP/1.1\r\nHost: x\r\n\r\n")
        seen = b""
        while after not in seen:
            seen += await reader.read(16)
        writer.transport.abort()
        await until(lambda: not house.state.tasks)
        assert (house.streams.open, house.follow.open.total()) == (0, 0)
        assert (await house.log.read(job)).ended_at is None
    left = {task for task in asyncio.all_tasks() - before if "watcher" not in repr(task)}
    assert left == set()


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


async def test_a_reader_that_stops_reading_is_cut_and_resumes_without_a_gap() -> None:
    said = [Token(f"{n:04}" * 2048, "answer") for n in range(500)]
    answer = "".join(token.content for token in said)
    async with serving(*said, Done("A2", ""), patience=0.1) as house:
        job = await house.asked()
        async with stalled_reader(house, f"GET {path(job)} HTTP/1.1\r\nHost: x\r\n\r\n") as stalled:
            await until(lambda: house.streams.stalled == 1)
            await until(lambda: not house.state.tasks)
            assert (house.streams.open, house.follow.open.total()) == (0, 0)
            cursor = _last_id(await _rest(stalled))
        resumed = await house.read(job, headers={"Last-Event-ID": cursor})
        seen = int(cursor.split("-")[1]) - 1
        assert text(resumed) == answer[seen * 8192 :]


@asynccontextmanager
async def stalled_reader(house: House, request: str) -> AsyncIterator[socket.socket]:
    """Asks, and reads nothing; the system keeps as little as it can for it."""
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.setblocking(False)
        loop = asyncio.get_running_loop()
        before = set(house.state.connections)
        await loop.sock_connect(stalled, ("127.0.0.1", house.port))
        await until(lambda: house.state.connections - before)
        (mine,) = house.state.connections - before
        accepted = mine.transport.get_extra_info("socket")
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        await loop.sock_sendall(stalled, request.encode())
        yield stalled


async def _rest(stalled: socket.socket) -> bytes:
    """What had reached the peer when its connection was cut."""
    loop = asyncio.get_running_loop()
    seen = bytearray()
    try:
        while piece := await loop.sock_recv(stalled, 65536):
            seen += piece
    except ConnectionResetError:
        pass
    return bytes(seen)


def _last_id(seen: bytes) -> str:
    whole = seen[: seen.rindex(b"\n\n")]
    return whole[whole.rindex(b"id: ") + 4 :].split(b"\n")[0].decode()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_the_end_of_an_answer_that_nobody_reads_does_not_keep_its_connection(
    version: str,
) -> None:
    said = [Token("x" * 8192, "answer") for _ in range(5)]
    async with serving(*said, DONE, patience=0.1) as house:
        job = await house.asked()
        async with stalled_reader(house, f"GET {path(job)} HTTP/{version}\r\nHost: x\r\n\r\n"):
            await until(lambda: house.streams.stalled == 1)
            await until(lambda: len(house.state.connections) <= 1)  # the client's own is idle


class RecordingBatches:
    """A reader of a log that remembers how often it was closed."""

    def __init__(self) -> None:
        self.closed = 0

    async def __anext__(self) -> Any:
        return (record(Cursor(1, 1), STARTED),)

    async def aclose(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("breaks_at", [0, 1, 2, 3])
async def test_a_reader_of_the_log_is_closed_wherever_its_client_breaks(
    method: str, breaks_at: int
) -> None:
    batches, stats, sent = RecordingBatches(), StreamStats(), 0

    async def send(message: Any) -> None:
        nonlocal sent
        if sent == breaks_at:
            raise OSError("gone")
        sent += 1

    async def receive() -> Any:
        await asyncio.Event().wait()

    stream = EventStream(batches, stats, ping=10, expires=None)  # type: ignore[arg-type]
    with suppress(OSError):
        await stream({"type": "http", "method": method}, receive, send)
    assert (batches.closed, stats.open) == (1, 0)


def test_keepalives_are_the_contracts_bytes() -> None:
    stream = EventStream(RecordingBatches(), StreamStats(), ping=10, expires=None)  # type: ignore[arg-type]
    assert stream.ping_message_factory is not None
    assert stream.ping_message_factory().encode() == KEEPALIVE


async def test_seven_tabs_read_at_once() -> None:
    gate = asyncio.Event()
    async with serving(*TOLD[:-1], gate, TOLD[-1]) as house:
        job = (await house.ask())["job_id"]
        tabs = [asyncio.create_task(house.read(job)) for _ in range(7)]
        await until(lambda: house.streams.open == 7)
        gate.set()
        assert {text(await tab) for tab in tabs} == {ANSWER}
