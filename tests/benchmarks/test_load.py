"""The rig's own parts: a load that is not what it says makes every figure wrong."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from itertools import pairwise
from statistics import fmean, median
from typing import Any

import pytest
from aiohttp import ClientSession

from benchmarks import mix
from benchmarks.fake_model import ARGUMENTS, FIRST_S, MEAN, MEDIAN, Model
from benchmarks.harness import Bench, describe
from benchmarks.kept_connection import KeptConnection, RefusedError
from benchmarks.mix import LADDER, STEP, holds, offered
from benchmarks.processes import Process, before_others, core_s, spinner
from benchmarks.results import Results, Row
from benchmarks.servers import SLUICE
from benchmarks.stamp import now_us
from benchmarks.timers import Timers
from benchmarks.upstream import Connection


async def test_timers_ring_in_their_order_and_not_before_their_time() -> None:
    timers, rung = Timers(), list[tuple[str, int]]()
    done = asyncio.get_running_loop().create_future()
    begin = now_us()
    for name, after in (("c", 30_500), ("a", 1_100), ("b", 1_200)):
        timers.at(begin + after, lambda name=name: rung.append((name, now_us())))  # type: ignore[misc]
    timers.at(begin + 31_000, lambda: timers.at(0, lambda: done.set_result(None)))
    async with asyncio.timeout(5):
        await done
    assert [name for name, _ in rung] == ["a", "b", "c"]
    assert all(at >= begin + due for (_, at), due in zip(rung, (1_100, 1_200, 30_500), strict=True))


async def test_answers_are_as_long_as_peoples_and_alike_for_every_server() -> None:
    model = Model(-1, 0, b"")
    model.set(0.02, 0, mixed=True)
    drawn = [model.drawn() for _ in range(4000)]
    lengths = [tokens for tokens, _ in drawn]
    assert median(lengths) == pytest.approx(MEDIAN, rel=0.1)
    assert fmean(lengths) == pytest.approx(MEAN, rel=0.1)
    assert {first for _, first in drawn} == {FIRST_S}
    assert fmean(model.gap() for _ in range(4000)) == pytest.approx(0.02, rel=0.1)
    model.set(0.02, 0, mixed=True)
    assert [model.drawn() for _ in range(4000)] == drawn


async def test_a_load_begins_in_the_midst_of_answers_that_end_at_once_as_often_as_later() -> None:
    model = Model(-1, 0, b"")
    model.set(0.02, 0, mixed=True, begun=4000)
    left = [model.drawn()[0] for _ in range(4000)]
    assert sum(tokens <= 50 for tokens in left) / 4000 == pytest.approx(50 / MEAN, rel=0.1)
    assert model.drawn()[1] == FIRST_S


@pytest.fixture
async def upstream() -> AsyncIterator[int]:
    model = Model(0, 3, b"")
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(model), "127.0.0.1", 0
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


async def deltas(port: int, role: str) -> list[Any]:
    body = {"stream": True, "tools": [{}], "messages": [{"role": role}]}
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    async with ClientSession() as client, client.post(url, json=body) as reply:
        lines = (await reply.text()).split("\n\n")
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    return [chunk["choices"][0] for chunk in chunks]


def calls_of(choices: list[Any]) -> list[Any]:
    return [one["delta"]["tool_calls"][0] for one in choices if "tool_calls" in one["delta"]]


def arguments_of(calls: list[Any]) -> object:
    return json.loads("".join(call["function"]["arguments"] for call in calls))


async def test_a_tool_is_called_in_pieces_and_its_result_is_answered(upstream: int) -> None:
    called = await deltas(upstream, "user")
    calls = calls_of(called)
    assert calls[0]["function"]["name"] == "weather"
    assert len(calls) == 1 + len(ARGUMENTS)
    assert arguments_of(calls) == {"city": "Seoul"}
    assert called[-1]["finish_reason"] == "tool_calls"
    answered = await deltas(upstream, "tool")
    assert sum("<" in str(one["delta"]) for one in answered) == 3
    assert answered[-1]["finish_reason"] == "stop"


@pytest.mark.parametrize("role", ["user", "tool"])
async def test_what_is_cut_short_is_a_whole_call_or_a_word(role: str) -> None:
    model = Model(0, 0, b"")
    model.set(0.02, 0, mixed=True)
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: Connection(model), "127.0.0.1", 0) as server:
        asking = asyncio.create_task(deltas(server.sockets[0].getsockname()[1], role))
        while not model.open:  # noqa: ASYNC110 - the model tells nobody
            await asyncio.sleep(0.001)
        model.finish()
        called = await asking
    if role == "user":
        assert arguments_of(calls_of(called)) == {"city": "Seoul"}
    else:
        assert sum("<" in str(one["delta"]) for one in called) == 1


async def test_requests_share_a_connection_until_the_server_closes_it() -> None:
    asked, over = list[int](), list[None]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(0)
        with suppress(asyncio.IncompleteReadError, ConnectionError), closing(writer):
            while asked[-1] < 3:
                await reader.readuntil(b"\r\n\r\n")
                asked[-1] += 1
                status = b"200 OK" if asked[-1] < 3 else b"503 Busy"
                writer.write(b"HTTP/1.1 %b\r\nContent-Length: 2\r\n\r\n{}" % status)
        over.append(None)

    async def until_closed(connections: int) -> None:
        async with asyncio.timeout(5):
            while connection.open or len(over) < connections:  # noqa: ASYNC110 - two ends
                await asyncio.sleep(0.001)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        connection = KeptConnection(server.sockets[0].getsockname()[1])
        assert await connection.post("/a") == {}
        assert await connection.post("/b") == {}
        with pytest.raises(RefusedError, match="status 503"):
            await connection.post("/c")
        await until_closed(1)
        assert await connection.post("/d") == {}
        connection.close()
        await until_closed(2)
    assert asked == [3, 1]


def a_row(waited: float, others: float) -> Row:
    took = {"server": 3.0, "waited": waited, "others": others, "at_s": 5.0, "sent": 9000.0}
    took |= dict.fromkeys(("upstream", "client", "redis"), 0.5)
    spreads = {name: {"p50": 1.0, "p99": 2.0, "max": 3.0} for name in ("lag_ms", "first_ms")}
    counts = dict.fromkeys(("gaps", "repeats", "fairness", "least", "wire_bytes"), 0)
    came = {"tokens": 9000, "content_bytes": 0, "outcomes": {}, **spreads, **counts}
    return describe(SLUICE, mix.life(50, 5), took, came)


def test_a_server_is_disturbed_only_where_others_have_its_core_while_it_waits() -> None:
    assert a_row(waited=2, others=2).disturbed
    assert not a_row(waited=2, others=0.1).disturbed  # its own threads wait for each other
    assert not a_row(waited=0.1, others=1.9).disturbed  # they take what it leaves


async def test_a_core_is_kept_awake_by_what_gives_way_to_all_else() -> None:
    cpu = min(os.sched_getaffinity(0))
    before = core_s(cpu)
    spinning = spinner(cpu)
    try:
        async with asyncio.timeout(30):
            while not spinning.cpu_s() or policy(spinning) != os.SCHED_IDLE:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        spinning.stop()
    assert core_s(cpu) >= before


def policy(process: Process) -> int:
    (pid,) = process._tree()
    return os.sched_getscheduler(pid)


def test_each_rate_is_a_tenth_more_than_the_one_before() -> None:
    assert all(1 < b / a < STEP + 0.05 for a, b in pairwise(LADDER))
    assert offered(LADDER[0]) < 500
    assert offered(LADDER[-1]) > 20_000


def borne(streams: int, lag_ms: float, **changed: object) -> Row:
    values: dict[str, object] = dict.fromkeys(Row.__slots__, 0) | {
        "streams": streams,
        "lag_p99_ms": lag_ms,
        "tokens_s": offered(streams),
        "sent_s": offered(streams),
        "outcomes": {},
    }
    return Row(**values | changed)  # type: ignore[arg-type]


def test_a_rate_holds_only_in_time_undisturbed_and_with_nothing_left_behind() -> None:
    assert holds(borne(50, 9.9))
    assert not holds(borne(50, 10.1))
    assert not holds(borne(50, 1, waited=0.5))
    assert not holds(borne(50, 1, tokens_s=0.9 * offered(50)))
    assert not holds(borne(50, 0, tokens_s=None))


@pytest.mark.parametrize("limit", [7, 8, 50, 217, 10_000])
def test_the_largest_rate_that_holds_is_found(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = list[int]()

    def held(_bench: Bench, _server: object, streams: int) -> Row | None:
        tried.append(streams)
        return borne(streams, 1) if streams <= limit else None

    monkeypatch.setattr(mix, "_held", held)
    results = Results()
    mix._search(Bench.__new__(Bench), results, SLUICE)
    best = max((streams for streams in LADDER if streams <= limit), default=None)
    assert results.figure(f"rate_streams {SLUICE.name}") == best
    assert len(tried) <= 6


LATE, IN_TIME, FULL = 40, 2, 0.97
"""Milliseconds of lag; a core's share."""


@pytest.mark.parametrize(
    ("windows", "looked_at", "is_held"),
    [
        ([(IN_TIME, 0.4)], 1, True),
        ([(LATE, 0.4), (IN_TIME, 0.4)], 2, True),
        ([(LATE, 0.4), (LATE, 0.5), (LATE, 0.4), (IN_TIME, 0.4)], 3, False),
        ([(LATE, FULL), (IN_TIME, 0.4)], 1, False),
    ],
)
def test_a_window_is_measured_again_that_was_late_with_time_left(
    windows: list[tuple[float, float]],
    looked_at: int,
    is_held: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = iter([borne(50, lag_ms, busy=busy) for lag_ms, busy in windows])
    looked = list[Row]()

    def measure(*_: object) -> Row:
        looked.append(next(rows))
        return looked[-1]

    bench = Bench.__new__(Bench)
    monkeypatch.setattr(bench, "server", lambda _: object())
    monkeypatch.setattr(bench, "measure", measure)
    assert bool(mix._held(bench, SLUICE, 50)) == is_held
    assert len(looked) == looked_at


def test_what_is_measured_runs_before_others_only_meanwhile() -> None:
    wait = "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()"
    process = Process([sys.executable, "-c", wait], None, talks=False)

    def scheduled() -> set[int]:
        return {os.sched_getscheduler(thread) for thread in (0, *process.threads())}

    try:
        process.until(lambda: len(list(process.threads())) == 2)
        with before_others(process) as allowed:
            within = scheduled()
        assert within == ({os.SCHED_RR} if allowed else {os.SCHED_OTHER})
        assert scheduled() == {os.SCHED_OTHER}
    finally:
        process.stop()
