"""The service is killed, or told to leave."""

import asyncio
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from sluice.offline_model import Break, Gate, Reply
from tests.faults.conftest import Live, Start
from tests.faults.test_cancel import says
from tests.faults.test_readers import ANSWER, WORDS, place
from tests.http.house import Frame, text
from tests.live.service import Service
from tests.live.stream import TERMINAL, Stream


async def read(service: Service, job: str, after: str | None = None) -> Stream:
    async with service.stream(job, after) as stream:
        await stream.all(40)
    return stream


async def until_said(stream: Stream, path: str) -> None:
    """A few tokens; where there are none, the answer has begun."""
    if path == "A2":
        await stream.until("token", count=5)
    else:
        while not [f for f in stream.seen if f.data == f.data | {"stage": "answer"}]:
            assert await stream.more() is not None


def last_reading(seen: list[Frame]) -> list[Frame]:
    """What a reader goes by: all, or what came since it was told that its cursor is unknown.

    A kill takes the tokens of the last 50 ms from the file; who has seen one is told so.
    """
    resets = [n for n, frame in enumerate(seen) if frame.data.get("reason") == "cursor_unknown"]
    return seen[resets[-1] + 1 :] if resets else seen


def assert_one_life(before: list[Frame], after: list[Frame], path: str) -> None:
    """What one reader saw around a kill: rising ids, a reset, and the text from there on."""
    seen = last_reading([*before, *after])
    places = [place(frame.id) for frame in seen]
    assert places == sorted(set(places))
    resets = [frame for frame in seen if frame.event == "reset"]
    assert [(frame.id, frame.data["reason"]) for frame in resets] == [("2-1", "new_attempt")]
    assert [frame.event in TERMINAL for frame in seen].count(True) == 1
    assert seen[-1].data["answer"] == ANSWER
    assert text(seen) == (ANSWER if path == "A2" else "")


@pytest.mark.parametrize("path", ["A1", "A2"])
async def test_after_kill_9_what_was_over_replays_and_what_ran_goes_on(
    start: Start, path: str
) -> None:
    live = await start(path)
    service = live.service
    says(live, "runs", Reply(WORDS, pace=0.02))
    accepted = await service.ask("hi", "chat")
    over, chat_url = accepted["job_id"], f"{service.url}/api/v1/chat/{accepted['chat_id']}"
    await read(service, over)
    replayed = (await read(service, over)).seen
    jobs = [(await service.ask("runs"))["job_id"] for _ in range(5)]
    queued = [await service.ask("hi", "one"), await service.ask("hi", "one")]
    streams = [service.stream(job) for job in jobs]
    for stream in streams:
        await stream.__aenter__()
        await until_said(stream, path)
    await service.kill()
    for stream in streams:
        while await stream.more() is not None:
            pass
        stream.leave()
        assert (stream.properly, stream.end) == (False, None)
    await live.model.until_idle()
    await service.start()
    assert (await read(service, over)).seen == replayed
    for stream in streams:
        after = await read(service, stream.job, stream.seen[-1].id)
        assert_one_life(stream.seen, after.seen, path)
        whole = (await read(service, stream.job)).seen
        assert (whole[-1], text(whole)) == (after.end, ANSWER if path == "A2" else "")
    for job in queued:
        assert (await read(service, job["job_id"])).seen[-1].event == "done"
    chat = (await service.client.get(chat_url)).json()
    assert [item["role"] for item in chat["items"]] == ["user", "assistant"]
    follow_up = await read(service, (await service.ask("thanks", "chat"))["job_id"])
    assert follow_up.seen[-1].event == "done"
    asked = [request.body["messages"] for request in live.model.requests]
    assert any(len(messages) > 3 for messages in asked), "the chat's memory is gone"
    await live.leaves_nothing()


async def test_a_job_that_takes_its_process_along_twice_ends_as_lost(start: Start) -> None:
    live = await start()
    service = live.service
    says(live, "hangs", Reply(["half", Break.HANG]))
    job = (await service.ask("hangs"))["job_id"]
    seen: list[Frame] = []
    for life in range(2):
        async with service.stream(job, seen[-1].id if seen else None) as stream:
            while not stream.seen or place(stream.seen[-1].id)[0] <= life or not text(stream.seen):
                assert await stream.more() is not None
            seen += stream.seen
            await service.kill()
        await service.start()
    seen += (await read(service, job, seen[-1].id)).seen
    assert place(seen[-1].id)[0] == 3
    assert (seen[-1].event, seen[-1].data["code"]) == ("error", "worker_lost")
    ids = [frame.id for frame in last_reading(seen)]
    assert len(set(ids)) == len(ids)
    assert (await service.job(job))["status"] == "failed"
    await live.leaves_nothing()


async def leave(live: Live, streams: list[Stream]) -> tuple[int, float]:
    """SIGTERM while the streams are open; the exit status, and how long it took."""
    begun = time.monotonic()
    live.service.tell(signal.SIGTERM)
    await asyncio.gather(*(stream.all(40) for stream in streams))
    status = await live.service.gone()
    return status, time.monotonic() - begun


async def test_sigterm_ends_200_streams_properly_and_hands_their_jobs_to_the_next_start(
    start: Start,
) -> None:
    live = await start(SLUICE_SHUTDOWN_GRACE="2", SLUICE_MAX_RUNNING="200")
    service = live.service
    ends, stays = Gate(), Reply(["half ", Break.HANG])
    says(live, "ends", Reply(["the ", "end"], gate=ends))
    says(live, "stays", stays)
    asked = ["ends", "stays"] * 50
    jobs = [(await service.ask(message))["job_id"] for message in asked]
    streams = [service.stream(job) for job in [*jobs, *jobs]]
    for stream in streams:
        await stream.__aenter__()
        await stream.until("token")
    asyncio.get_running_loop().call_later(0.5, ends.release)
    status, took = await leave(live, streams)
    print(f"\nSIGTERM with 200 streams, grace 2 s: exit {status} after {took:.1f} s")
    assert status == 0
    assert all(stream.properly for stream in streams)
    for message, stream in zip(asked * 2, streams, strict=True):
        stream.leave()
        assert (stream.end is not None) == (message == "ends")
        if message == "stays":
            assert 1000 <= stream.retries[-1] <= 5000
            assert len(stream.retries) == 2
    assert len({stream.retries[-1] for stream in streams}) > 20, "they would all return at once"
    says(live, "stays", Reply(["whole"]))
    await service.start()
    for message, job in zip(asked, jobs, strict=True):
        seen = (await read(service, job)).seen
        if message == "stays":
            assert Counter(frame.event for frame in seen)["reset"] == 1
        assert text(seen) == seen[-1].data["answer"]
        assert text(seen) == {"ends": "the end", "stays": "whole"}[message]
    await live.leaves_nothing()


async def test_sigterm_cancels_what_memory_would_lose(start: Start) -> None:
    live = await start(SLUICE_STORE="memory://", SLUICE_SHUTDOWN_GRACE="1")
    says(live, "hangs", Reply(["half", Break.HANG]))
    jobs = [(await live.service.ask("hangs"))["job_id"] for _ in range(5)]
    queued = [(await live.service.ask("hangs", "one"))["job_id"] for _ in range(2)]
    streams = [live.service.stream(job) for job in [*jobs, *queued]]
    for stream in streams:
        await stream.__aenter__()
    await live.model.until_called(12)
    status, took = await leave(live, streams)
    assert status == 0
    assert took < 20
    for stream in streams:
        stream.leave()
        assert stream.properly
        assert stream.seen[-1].data == {"status": "cancelled", "reason": "shutdown"}
    await live.model.until_idle()


async def test_readers_that_do_not_read_do_not_keep_it_from_leaving(start: Start) -> None:
    live = await start(SLUICE_SHUTDOWN_GRACE="1", SLUICE_MAX_ANSWER_BYTES=str(16 * 2**20))
    says(live, "much", Reply(["x" * 65536] * 128, pace=0))
    job = (await live.service.ask("much"))["job_id"]
    await read(live.service, job)
    async with AsyncExitStack() as stalled:
        for _ in range(10):
            await stalled.enter_async_context(live.service.stream(job, window=16384))
        begun = time.monotonic()
        live.service.tell(signal.SIGTERM)
        assert await live.service.gone(within=20) == 0
        print(f"\nSIGTERM with 10 stalled readers: gone after {time.monotonic() - begun:.1f} s")
    assert "Traceback" not in live.service.log.read_text()


async def test_while_it_leaves_it_takes_nothing_new_and_is_not_ready(start: Start) -> None:
    live = await start()
    service = live.service
    gate = Gate()
    says(live, "held", Reply(["a", "b"], gate=gate))
    job = (await service.ask("held"))["job_id"]
    async with service.stream(job) as stream:
        await gate.reached()
        await service.client.get(f"{service.url}/healthz")
        service.tell(signal.SIGTERM)
        async with asyncio.timeout(5):
            while (await service.client.get(f"{service.url}/readyz")).status_code != 503:
                await asyncio.sleep(0.01)
        refused = await service.client.post(f"{service.url}/api/v1/chat", json={"message": "x"})
        assert refused.status_code == 503
        assert "retry-after" in refused.headers
        async with service.stream(job) as late:
            gate.release()
            assert (await late.all())[-1].event == "done"
        assert (await stream.all())[-1].event == "done"
    assert await service.gone() == 0


async def test_a_second_signal_exits_at_once(start: Start) -> None:
    live = await start()
    says(live, "hangs", Reply(["half", Break.HANG]))
    async with live.service.stream((await live.service.ask("hangs"))["job_id"]) as stream:
        await stream.until("token")
        live.service.tell(signal.SIGTERM)
        async with asyncio.timeout(5):
            while "leaving" not in live.service.log.read_text():
                await asyncio.sleep(0.01)
        live.service.tell(signal.SIGTERM)
        assert await live.service.gone(within=3) == 128 + signal.SIGTERM
    await live.service.start()  # nothing is damaged
    await live.model.until_called(4)
