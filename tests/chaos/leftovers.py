"""What a process still holds when it has nothing to do, against one that was just started."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.live.process import ESTABLISHED, Process
from tests.live.service import Service

_POOLED = 64
"""Connections of one process to its stores and its upstream: more is a leak."""


class Held(NamedTuple):
    tasks: float
    descriptors: int


async def against_fresh(process: Process, *peers: str, job: str | None = None) -> dict[str, float]:
    """Tasks and descriptors beyond those of the process started anew, if it has only told `job`.

    Restarts it.
    """
    held = Held(*map(min, zip(*await _looks(process, peers), strict=True)))
    await process.kill()
    await process.start()
    if job is not None and isinstance(process, Service):
        async with process.stream(job) as stream:
            await stream.all()
        await process.idle()
    fresh = Held(*map(max, zip(*await _looks(process, peers), strict=True)))
    return {
        "tasks": max(0, held.tasks - fresh.tasks),
        "descriptors": max(0, held.descriptors - fresh.descriptors),
    }


async def _looks(process: Process, peers: Sequence[str]) -> list[Held]:
    """Ten within a second: between two looks a task may end, a connection may come."""
    seen = []
    for _ in range(10):
        tasks = (await process.metrics())["sluice_tasks"]
        seen.append(Held(tasks, _descriptors(process, peers)))
        await asyncio.sleep(0.1)
    return seen


def _descriptors(process: Process, peers: Sequence[str]) -> int:
    """Without what is kept for later use: a client's connection that waits, and the pools.

    A pool notices that the other side has closed a connection when it uses it again.
    """
    ports = {urlsplit(peer).port for peer in peers}
    connections = process.sockets()
    waiting = sum(each.here == process.port and each.state == ESTABLISHED for each in connections)
    pooled = sum(each.there in ports for each in connections)
    return process.descriptors() - waiting - min(pooled, _POOLED)
