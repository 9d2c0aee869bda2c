"""Readers that come, leave, resume and stall while a stream does not pause."""

import asyncio
import time
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest

from sluice.offline_model import Gate, Reply
from tests.faults.conftest import Live, Start
from tests.faults.test_cancel import says
from tests.http.house import Frame, text
from tests.live.stream import Stream

WORDS = [f"{n:03} 조각{'👩‍👩‍👧' * (n % 3)} " for n in range(150)]
ANSWER = "".join(WORDS)
KIB = 1024


def place(event_id: str | None) -> tuple[int, int]:
    assert event_id is not None
    attempt, seq = event_id.split("-")
    return int(attempt), int(seq)


def assert_rest(stream: Stream, before: str, last: Frame, path: str) -> None:
    """What a reader got who had `before`: the rest, nothing twice, nothing missing."""
    places = [place(frame.id) for frame in stream.seen]
    assert all(one < other for one, other in pairwise([place(stream.after or "1-0"), *places]))
    assert stream.properly
    assert stream.end == last
    assert before + text(stream.seen) == (ANSWER if path == "A2" else "")
    assert [frame for frame in stream.seen if frame.event == "reset"] == []


async def test_a_reader_resumes_at_every_single_event_of_a_stream_that_does_not_pause(
    shared: Live,
) -> None:
    says(shared, "resumed", Reply(WORDS, pace=0.01))
    job = (await shared.service.ask("resumed"))["job_id"]
    resumed: list[tuple[str, asyncio.Task[Stream]]] = []

    async def resume(after: str | None) -> Stream:
        async with shared.service.stream(job, after) as stream:
            await stream.all()
        return stream

    async with shared.service.stream(job) as live, asyncio.TaskGroup() as readers:
        async for frame in live:
            if frame.event != "done":
                resumed.append((text(live.seen), readers.create_task(resume(frame.id))))
    for before, reader in resumed:
        assert_rest(reader.result(), before, live.seen[-1], shared.path)
    # The same again when all is over, when what is read has been joined.
    last = live.seen.pop()
    for upto in range(len(live.seen)):
        after = live.seen[upto].id
        assert_rest(await resume(after), text(live.seen[: upto + 1]), last, shared.path)
    if shared.path == "A2":
        assert len(resumed) > 100
    await shared.leaves_nothing()


async def test_a_reader_leaves_after_every_event_and_misses_none(shared: Live) -> None:
    says(shared, "leaving", Reply(WORDS, pace=0.005))
    job = (await shared.service.ask("leaving"))["job_id"]
    seen: list[Frame] = []
    while not seen or seen[-1].event != "done":
        async with shared.service.stream(job, seen[-1].id if seen else None) as stream:
            while not stream.seen:
                assert await stream.more() is not None
            seen += stream.seen[: 1 + len(seen) % 3]
    assert all(place(one.id) < place(other.id) for one, other in pairwise(seen))
    assert text(seen) == (ANSWER if shared.path == "A2" else "")
    assert seen[-1].data["answer"] == ANSWER
    await shared.leaves_nothing()


async def test_five_at_once_one_late_and_one_resuming_agree(shared: Live) -> None:
    gate = Gate()
    says(shared, "seven", Reply([*WORDS[:75], gate, *WORDS[75:]], pace=0.001))
    job = (await shared.service.ask("seven"))["job_id"]

    async def whole(after: str | None = None) -> Stream:
        async with shared.service.stream(job, after) as stream:
            await stream.all()
        return stream

    async with asyncio.TaskGroup() as readers:
        five = [readers.create_task(whole()) for _ in range(5)]
        await gate.reached()
        async with shared.service.stream(job) as short:
            first = await short.until("stage", count=2)
        before, at = text(short.seen[: short.seen.index(first) + 1]), first.id
        late, resuming = readers.create_task(whole()), readers.create_task(whole(at))
        gate.release()
    last = five[0].result().seen[-1]
    for reader in [*five, late]:
        assert_rest(reader.result(), "", last, shared.path)
    assert_rest(resuming.result(), before, last, shared.path)
    await shared.leaves_nothing()


@pytest.mark.parametrize("path", ["A1", "A2"])
async def test_readers_that_stop_reading_cost_little_and_slow_nobody(
    start: Start, path: str
) -> None:
    """8 MB for each of them: more than the system's own buffers take."""
    live = await start(path, SLUICE_MAX_ANSWER_BYTES=str(16 * KIB * KIB))
    service, pieces = live.service, [f"{n:04}" * 4096 for n in range(500)]
    says(live, "much", Reply(pieces, pace=0))
    says(live, "little", Reply(WORDS, pace=0.001))

    async def read() -> float:
        begun = time.monotonic()
        async with service.stream((await service.ask("little"))["job_id"]) as stream:
            assert (await stream.all())[-1].data["answer"] == ANSWER
        return time.monotonic() - begun

    job = (await service.ask("much"))["job_id"]
    async with service.stream(job) as whole:
        await whole.all()
    alone = min([await read() for _ in range(3)])
    async with AsyncExitStack() as stalled:
        # The log is loaded and encoded once for all who read it: that is no reader's own, so the
        # second hundred tells what each costs.
        for _ in range(100):
            await stalled.enter_async_context(service.stream(job, window=16384))
        await read()
        before = service.resident()
        readers = [service.stream(job, window=16384) for _ in range(100)]
        for reader in readers:
            await stalled.enter_async_context(reader)
        beside = min([await read() for _ in range(3)])
        held = (service.resident() - before) / len(readers)
        print(
            f"\n{path}: {held / KIB:.0f} KiB held for each of 100 stalled readers;"
            f" another's 150 tokens took {alone:.2f} s alone, {beside:.2f} s beside them"
        )
        assert (await service.metrics())["sluice_open_streams"] == 2 * len(readers)
        assert held <= 256 * KIB
        resumed = (await readers[0].until("stage")).id
    async with service.stream(job, resumed) as rest:
        assert (await rest.all())[-1] == whole.seen[-1]
        assert text(rest.seen) == text(whole.seen)
    await live.leaves_nothing()
