"""What is done to a process or a store: one thing after the other, in an order that the seed
decides; every kind of it comes before any comes again."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

from redis.asyncio import Redis

from tests.chaos.record import Recording
from tests.live.process import Process
from tests.services import PostgresServer, RedisServer

Span = tuple[float, float]
"""Seconds, at least and at most."""
_SLOWLY = 300
"""Seconds that a process may take to go where everything is disturbed at once, and other work is
on the machine: what is judged are the jobs.
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """`strike` returns when it has happened; `mend` when what it was done to serves again."""

    how: str
    strike: Callable[[], Awaitable[None]]
    mend: Callable[[Random], Awaitable[None]]


def kill(process: Process) -> Fault:
    return _ended(process, signal.SIGKILL, -signal.SIGKILL)


def dismiss(process: Process) -> Fault:
    return _ended(process, signal.SIGTERM, 0)


def _ended(process: Process, how: signal.Signals, status: int) -> Fault:
    async def strike() -> None:
        process.tell(how)
        was = await process.gone(_SLOWLY)
        assert was == status, f"{how.name}: exit {was}"

    return Fault(how.name, strike, lambda _: process.start())


def freeze(pid: Callable[[], int], seconds: Span) -> Fault:
    async def strike() -> None:
        os.kill(pid(), signal.SIGSTOP)

    async def mend(rng: Random) -> None:
        try:
            await asyncio.sleep(rng.uniform(*seconds))
        finally:
            os.kill(pid(), signal.SIGCONT)

    return Fault("SIGSTOP", strike, mend)


def cut(redis: RedisServer) -> Fault:
    """All its clients' connections, at once; they connect again by themselves."""

    async def strike() -> None:
        async with Redis.from_url(redis.url) as admin:
            for kind in ("normal", "pubsub"):
                await admin.client_kill_filter(_type=kind, skipme=True)

    return Fault("CLIENT KILL", strike, lambda _: asyncio.sleep(0))


def restart(store: RedisServer | PostgresServer, seconds: Span) -> Fault:
    """It dies without a word, is away for a while, and comes back with what it has on disk."""

    async def mend(rng: Random) -> None:
        try:
            await asyncio.sleep(rng.uniform(*seconds))
        finally:
            await asyncio.to_thread(store.start)

    return Fault("RESTART", lambda: asyncio.to_thread(store.stop), mend)


class Lane:
    """`who` is disturbed, with `pauses` in between; `hits` says then whom that may concern."""

    def __init__(
        self,
        who: str,
        faults: Sequence[Fault],
        pauses: Span,
        hits: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._who, self._faults, self._pauses, self._hits = who, faults, pauses, hits

    async def run(self, seed: int, recording: Recording, stop: asyncio.Event) -> None:
        """Until `stop`; then all is mended."""
        rng = Random(f"{seed} {self._who}")
        for fault in self._deck(rng):
            with suppress(TimeoutError):
                async with asyncio.timeout(rng.uniform(*self._pauses)):
                    await stop.wait()
                return
            told = {"who": self._who, "how": fault.how, "at": time.monotonic()}
            await fault.strike()
            told |= self._hits()
            await fault.mend(rng)
            recording.write("disturbed", **told, until=time.monotonic())

    def _deck(self, rng: Random) -> Iterator[Fault]:
        while True:
            yield from rng.sample(self._faults, len(self._faults))
