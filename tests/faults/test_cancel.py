"""Cancel at every moment of a job's life: one terminal event, and the upstream's socket closed.

The latencies are printed (`-s` shows them); the reliability report quotes them.
"""

import asyncio
import time
from typing import Any

import pytest

from sluice.offline_model import Break, Gate, Reply
from tests.faults.conftest import Live, Start
from tests.http.house import Frame, text

WORDS = [f"word{n} " for n in range(20_000)]


def says(live: Live, message: str, reply: Reply) -> None:
    """What the answering call for that message gets; the classifier is the rules'."""

    def meant(body: Any) -> bool:
        asked: bool = body["messages"][-1]["content"] == message
        return asked and "response_format" not in body

    live.model.script_when(meant, reply)


async def ended(live: Live, job: str) -> list[Frame]:
    """All events of a job that is over, which has exactly one terminal event."""
    async with live.service.stream(job) as stream:
        seen = await stream.all()
    assert stream.properly
    assert [frame.event in ("done", "error", "cancelled") for frame in seen].count(True) == 1
    assert stream.end is not None
    status = {"done": "completed", "error": "failed", "cancelled": "cancelled"}[stream.end.event]
    assert (await live.service.job(job))["status"] == status
    return seen


async def cancelled(live: Live, job: str) -> list[Frame]:
    seen = await ended(live, job)
    assert seen[-1].data == {"status": "cancelled", "reason": "user"}
    await live.leaves_nothing()
    return seen


async def test_while_it_is_queued(shared: Live) -> None:
    gate = Gate()
    says(shared, "first", Reply(["one"], gate=gate, hold_after=0))
    first = await shared.service.ask("first", "queued")
    await gate.reached()
    calls = shared.model.opened
    second = (await shared.service.ask("second", "queued"))["job_id"]
    assert await shared.service.cancel(second) == 202
    seen = await ended(shared, second)
    assert [frame.event for frame in seen] == ["stage", "cancelled"]
    assert shared.model.opened == calls
    gate.release()
    assert (await ended(shared, first["job_id"]))[-1].event == "done"
    await shared.leaves_nothing()


@pytest.mark.parametrize(
    "reply",
    [
        Reply(["never"], before_status=Break.HANG),
        Reply([Break.HANG], role=False),
        Reply(["half", Break.HANG]),
        Reply(WORDS, pace=0.002),
    ],
    ids=["before the first byte", "after the headers", "mid-hang", "mid-stream"],
)
async def test_while_the_upstream_is_at_it(shared: Live, reply: Reply) -> None:
    says(shared, "long", reply)
    calls = shared.model.opened
    job = (await shared.service.ask("long"))["job_id"]
    await shared.model.until_called(calls + 2)
    async with shared.service.stream(job) as stream:
        if "half" in (reply.pieces or ()) or reply.pieces == WORDS:
            while not (await shared.service.job(job))["partial"] and shared.path == "A2":
                await asyncio.sleep(0.005)
        assert await shared.service.cancel(job) == 202
        await stream.all()
    seen = await cancelled(shared, job)
    assert (text(stream.seen), stream.end) == (text(seen), seen[-1])
    assert "".join(WORDS).startswith(text(seen)) or text(seen) in ("half", "")
    assert (await shared.service.job(job))["partial"] == (text(seen) or None)
    assert "failed" not in {frame.data.get("status") for frame in seen}


async def test_twice_and_ten_times_at_once(shared: Live) -> None:
    says(shared, "ten times", Reply(["half", Break.HANG]))
    calls = shared.model.opened
    job = (await shared.service.ask("ten times"))["job_id"]
    await shared.model.until_called(calls + 2)
    assert set(await asyncio.gather(*(shared.service.cancel(job) for _ in range(10)))) == {202}
    seen = await cancelled(shared, job)
    assert await shared.service.cancel(job) == 202
    assert await ended(shared, job) == seen


async def test_at_the_moment_of_finishing(shared: Live) -> None:
    """Whichever comes first, there is one end, and all agree on it."""
    ends = []
    for turn in range(24):
        gate = Gate()
        message = f"finishing {turn}"
        says(shared, message, Reply(["the ", "end"], gate=gate))
        job = (await shared.service.ask(message))["job_id"]
        await gate.reached()
        async with shared.service.stream(job) as stream:
            cancelling = asyncio.create_task(shared.service.cancel(job))
            await asyncio.sleep(turn * 0.0002)
            gate.release()
            await stream.all()
            assert await cancelling == 202
        seen = await ended(shared, job)
        assert seen[-1] == stream.end
        ends.append(seen[-1].event)
        if seen[-1].event == "done":
            assert seen[-1].data["answer"] == "the end"
    assert set(ends) <= {"done", "cancelled"}
    await shared.leaves_nothing()


async def test_afterwards(shared: Live) -> None:
    job = (await shared.service.ask("hi"))["job_id"]
    await ended(shared, job)
    over = await ended(shared, job)
    assert await shared.service.cancel(job) == 202
    assert await ended(shared, job) == over
    assert over[-1].event == "done"


async def test_by_somebody_else(start: Start) -> None:
    live = await start(SLUICE_AUTH="trusted-header")
    service = live.service
    says(live, "mine", Reply(["half", Break.HANG]))
    ann, bob = {"X-User-ID": "ann"}, {"X-User-ID": "bob"}
    job = (await service.ask("mine", **ann))["job_id"]
    await live.model.until_called(2)
    url, never = f"{service.url}/api/v1/jobs/{job}", f"{service.url}/api/v1/jobs/{'x' * 22}"
    for headers in ({**bob}, {**bob, "X-Request-ID": "r"}):
        theirs = await service.client.delete(url, headers=headers)
        nobodys = await service.client.delete(never, headers=headers)
        assert theirs.status_code == nobodys.status_code == 404
    assert theirs.content == nobodys.content
    async with service.stream(job, headers=bob) as stream:
        assert stream.status == 404
    assert (await service.client.get(url, headers=ann)).json()["status"] == "running"
    assert (await service.client.delete(url, headers=ann)).status_code == 202
    async with service.stream(job, headers=ann) as stream:
        assert [frame.event for frame in await stream.all()][-1] == "cancelled"
    await live.leaves_nothing()


@pytest.mark.parametrize("moment", ["before the first byte", "mid-hang", "mid-stream"])
async def test_latency_of_the_upstreams_socket(shared: Live, moment: str) -> None:
    """From sending the DELETE until the upstream has seen its client leave, 50 at each moment."""
    reply = {
        "before the first byte": Reply(["never"], before_status=Break.HANG),
        "mid-hang": Reply(["half", Break.HANG]),
        "mid-stream": Reply(WORDS, pace=0.01),
    }[moment]
    says(shared, "measured", reply)
    model, service = shared.model, shared.service
    latencies = []
    for _ in range(10):
        calls = model.opened
        jobs = [(await service.ask("measured"))["job_id"] for _ in range(5)]
        await model.until_called(calls + 10)
        await asyncio.sleep(0.02)
        for job in jobs:
            seen = len(model.disconnects)
            begun = time.monotonic()
            assert await service.cancel(job) == 202
            async with asyncio.timeout(5):
                while len(model.disconnects) == seen:
                    await asyncio.sleep(0.0005)
            latencies.append(model.disconnects[-1] - begun)
        model.disconnects.clear()
    await shared.leaves_nothing()
    latencies.sort()
    figures = [latencies[len(latencies) // 2], latencies[-1]]
    p50, worst = (f"{1000 * seconds:.1f} ms" for seconds in figures)
    print(f"\ncancel, {shared.path}, {moment}: p50 {p50}, p99 and worst of 50 {worst}")
    assert figures[0] <= 0.25
    assert figures[1] <= 1


async def test_a_job_that_its_last_reader_left_is_cancelled_after_n_seconds(start: Start) -> None:
    live = await start(SLUICE_ON_DISCONNECT="cancel:1")
    service = live.service
    says(live, "left", Reply(["half", Break.HANG]))
    read, never_read = [(await service.ask("left"))["job_id"] for _ in range(2)]
    async with service.stream(read) as stays:
        async with service.stream(read) as leaves:
            await leaves.until("stage")
        async with asyncio.timeout(10):
            while (await service.job(never_read))["status"] != "cancelled":
                await asyncio.sleep(0.02)
        assert (await service.job(read))["status"] == "running"
        await stays.until("stage")
    assert (await service.job(read))["status"] == "running"
    async with asyncio.timeout(10):
        while (await service.job(read))["status"] != "cancelled":
            await asyncio.sleep(0.02)
    for job in (read, never_read):
        assert (await ended(live, job))[-1].data["reason"] == "orphaned"
    await live.leaves_nothing()


async def test_a_job_that_its_last_reader_left_goes_on_by_default(shared: Live) -> None:
    gate = Gate()
    says(shared, "goes on", Reply(["one ", "two"], gate=gate, hold_after=1))
    shared.model.disconnects.clear()
    job = (await shared.service.ask("goes on"))["job_id"]
    await gate.reached()
    for _ in range(5):
        async with shared.service.stream(job) as stream:
            await stream.until("stage")
    assert not shared.model.disconnects
    gate.release()
    assert (await ended(shared, job))[-1].data["answer"] == "one two"
    await shared.leaves_nothing()
