"""Clients as they are in life: impatient, forgetful, and back again with the last id they had."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx2

from tests.chaos.record import Recording
from tests.chaos.upstream import question
from tests.live.stream import TERMINAL, Stream

CANCELLED = 0.2
Port = Callable[[], int]
"""Of any gateway: asked anew for every request."""


class Clients:
    """Keeps `at_once` jobs going until `stop` is set; each has one to three readers."""

    def __init__(self, seed: int, port: Port, recording: Recording, *, at_once: int = 12) -> None:
        self._seed, self._port, self._recording = seed, port, recording
        self._at_once = at_once
        self._http = httpx2.AsyncClient(trust_env=False, verify=False, timeout=10)
        self._numbers = iter(range(1, 1_000_000))
        self.jobs: list[str] = []
        self.over = 0
        self.stop = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(self._one_after_the_other())

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _one_after_the_other(self) -> None:
        while not self.stop.is_set():
            number = next(self._numbers)
            rng = Random(f"{self._seed} {number}")
            job = await self._ask(number)
            async with asyncio.TaskGroup() as group:
                for reader in range(rng.randint(1, 3)):
                    group.create_task(self.read(job, f"{number}/{reader}", rng))
                if rng.random() < CANCELLED:
                    group.create_task(self._cancel(job, rng.uniform(0, 1.5)))
            self.over += 1

    async def _ask(self, number: int) -> str:
        """As often as it takes, always with one key: it makes one job."""
        key = f"chaos-{self._seed}-{number}"
        while True:
            with suppress(httpx2.TransportError):
                answer = await self._http.post(
                    f"http://127.0.0.1:{self._port()}/api/v1/chat",
                    json={"message": question(number), "session_id": key},
                    headers={"Idempotency-Key": key},
                )
                if answer.status_code == 202:
                    break
                assert answer.status_code == 503, answer.text
            await asyncio.sleep(0.1)
        accepted = answer.json()
        job: str = accepted["job_id"]
        self._recording.write("job", job=job, number=number, path=accepted["path"])
        self.jobs.append(job)
        return job

    async def _cancel(self, job: str, after: float) -> None:
        await asyncio.sleep(after)
        # Before it is tried: an answer may be lost, and the job be cancelled all the same.
        self._recording.write("cancel", job=job)
        while True:
            with suppress(httpx2.TransportError):
                url = f"http://127.0.0.1:{self._port()}/api/v1/jobs/{job}"
                if (answer := await self._http.delete(url)).status_code == 202:
                    return
                assert answer.status_code == 503, answer.text
            await asyncio.sleep(0.1)

    async def read(self, job: str, reader: str, rng: Random | None = None) -> None:
        """Until the terminal event; with `rng` in lives of 0.2 to 3 s, else in one."""
        after: str | None = None
        ended = False
        while not ended:
            visit = Visit(Stream(self._port(), job, after))
            with suppress(OSError, AssertionError):  # nobody there, or gone before the head
                ended = await visit.make(rng.uniform(0.2, 3) if rng else None)
            if seen := visit.stream.seen:
                after = seen[-1].id
            if visit.stream.status:
                self._recording.write("subscription", reader=reader, **visit.report())
            if not ended:
                await asyncio.sleep(rng.uniform(0, 0.2) if rng else 0.1)


@dataclass(slots=True, eq=False)
class Visit:
    """One subscription. `left`: the client went by itself, before the body's end.

    `first` is when it got something, `cut` when the body ended without the job's end, both on
    the monotonic clock.
    """

    stream: Stream
    left: bool = True
    first: float | None = None
    cut: float | None = None

    async def make(self, life: float | None) -> bool:
        """Whether there is no more to come."""
        stream = self.stream
        with suppress(TimeoutError):
            async with asyncio.timeout(life), stream:
                while (new := await stream.more()) is not None:
                    if new and self.first is None:
                        self.first = time.monotonic()
                    if new and new[-1].event in TERMINAL:
                        self.left = await stream.more() is not None
                        return True
                self.left = False
                if stream.status == 200:
                    self.cut = time.monotonic()
        return stream.status == 204

    def report(self) -> dict[str, Any]:
        stream = self.stream
        return {
            "job": stream.job,
            "after": stream.after,
            "status": stream.status,
            "properly": stream.properly,
            "retries": stream.retries,
            "frames": stream.seen,
            "left": self.left,
            "first": self.first,
            "cut": self.cut,
            "over": time.monotonic(),
        }
