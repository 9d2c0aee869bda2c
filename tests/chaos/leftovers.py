"""What a process still holds when it has nothing to do, against one that was just started."""

import asyncio
from collections.abc import Sequence
from urllib.parse import urlsplit

from tests.live.process import ESTABLISHED, Process
from tests.live.service import Service

_POOLED = 64
"""Connections of one process to its stores and its upstream: more is a leak."""


async def against_fresh(gateway: Service, job: str, *peers: str) -> dict[str, float]:
    """Tasks and descriptors beyond those of a service that has only told `job`. Restarts it."""
    tasks, descriptors = await _held(gateway, peers)
    await gateway.kill()
    await gateway.start()
    async with gateway.stream(job) as stream:
        await stream.all()
    await gateway.idle()
    fresh_tasks, fresh_descriptors = await _held(gateway, peers)
    return {
        "tasks": max(0, tasks - fresh_tasks),
        "descriptors": max(0, descriptors - fresh_descriptors),
    }


async def _held(gateway: Service, peers: Sequence[str]) -> tuple[float, float]:
    """The least of a second's looks."""
    tasks, descriptors = [], []
    for _ in range(10):
        tasks.append((await gateway.metrics())["sluice_tasks"])
        descriptors.append(descriptors_of(gateway, *peers))
        await asyncio.sleep(0.1)
    return min(tasks), min(descriptors)


async def looks(process: Process, *peers: str) -> list[int]:
    """Descriptors, ten times within a second: while they are counted a connection may come."""
    seen = []
    for _ in range(10):
        seen.append(descriptors_of(process, *peers))
        await asyncio.sleep(0.1)
    return seen


def descriptors_of(process: Process, *peers: str) -> int:
    """Without what is kept for later use: a client's connection that waits, and the pools.

    A pool notices that the other side has closed a connection when it uses it again.
    """
    served = process.port if isinstance(process, Service) else None
    ports = {urlsplit(peer).port for peer in peers}
    connections = process.sockets()
    waiting = sum(each.here == served and each.state == ESTABLISHED for each in connections)
    pooled = sum(each.there in ports for each in connections)
    return process.descriptors() - waiting - min(pooled, _POOLED)
