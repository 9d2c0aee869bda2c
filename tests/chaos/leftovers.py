"""What a process still holds when it has nothing to do, against one that was just started."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import or_
from urllib.parse import urlsplit

from tests.live.held import Held, Thing, descriptors, tasks_and_threads
from tests.live.process import Process
from tests.live.service import Service

_POOLED = 64
"""Connections of one process to its stores and its upstream: more is a leak."""
_NAMES = {"redis": "Redis", "postgresql": "PostgreSQL", "http": "the upstream"}
_WAITS = "socket of a client, ESTABLISHED"
_SPARE = "thread asyncio_"
"""Of the event loop's executor, which keeps what it has started."""


async def against_fresh(process: Process, *peers: str, job: str | None = None) -> dict[str, float]:
    """What it holds beyond what the process started anew does, if that has only told `job`.

    Restarts it.
    """
    called = {urlsplit(peer).port or 0: _NAMES[urlsplit(peer).scheme] for peer in peers}
    held = lasting(await _looks(process, called))
    await process.kill()
    await process.start()
    if job is not None and isinstance(process, Service):
        async with process.stream(job) as stream:
            await stream.all()
        await process.idle()
    return beyond(held, await _looks(process, called), set(called.values()))


async def _looks(process: Process, peers: Mapping[int, str]) -> list[Held]:
    """Ten within a second: between two looks a task may end, a connection may come."""
    seen: list[Held] = []
    for _ in range(10):
        tasks = await tasks_and_threads(process)
        seen.append({**tasks, **descriptors(process.pid, process.port, peers)})
        await asyncio.sleep(0.1)
    return seen


def lasting(looks: Sequence[Held]) -> list[Thing]:
    """What was seen each time, as it was seen last."""
    *earlier, last = looks
    return [thing for key, thing in last.items() if all(key in look for look in earlier)]


def beyond(held: Sequence[Thing], fresh: Sequence[Held], peers: set[str]) -> dict[str, float]:
    """How many more are held of each kind than in any look at the fresh one, and which they are.

    Without what is kept for later use: a client's connection that waits, spare threads, and the
    pools. A pool notices that the other side has closed a connection when it uses it again.
    """
    pooled = [thing for thing in held if _peer(thing.kind) in peers]
    kept = {_WAITS, _SPARE} | ({each.kind for each in pooled} if len(pooled) <= _POOLED else set())
    known = reduce(or_, (_kinds(look.values()) for look in fresh))
    left = _kinds(thing for thing in held if thing.kind not in kept) - known
    return {f"{kind} {_names(held, kind)}".rstrip(): count for kind, count in left.items()}


def _peer(kind: str) -> str:
    return kind.removeprefix("socket to ").partition(",")[0]


def _kinds(things: Iterable[Thing]) -> Counter[str]:
    return Counter(thing.kind for thing in things)


def _names(held: Sequence[Thing], kind: str) -> str:
    names = ", ".join(thing.name for thing in held if thing.kind == kind and thing.name)
    return f"({names})" if names else ""
