"""Clients as they are in life: impatient, forgetful, and back again with the last id they had."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
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
        self.chats: dict[str, str] = {}
        """Of each job."""
        self.over = 0
        self.waiting: set[str] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, and then until what was asked is answered."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(self._one_after_the_other(stop))

    async def look_back(self) -> None:
        """Every job once more from its beginning, and what is kept of it."""
        jobs = iter(self.chats.items())

        async def each() -> None:
            for job, chat in jobs:
                await self.read(job, "last")
                view, kept = await self._get(f"jobs/{job}"), await self._get(f"chat/{chat}")
                self._recording.write("kept", job=job, view=view, chat=kept)

        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(each())

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _one_after_the_other(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            number = next(self._numbers)
            rng = Random(f"{self._seed} {number}")
            job = await self._ask(number)
            self.waiting.add(job)
            async with asyncio.TaskGroup() as group:
                for reader in range(rng.randint(1, 3)):
                    group.create_task(self.read(job, f"{number}/{reader}", rng))
                if rng.random() < CANCELLED:
                    group.create_task(self._cancel(job, rng.uniform(0, 1.5)))
            self.waiting.remove(job)
            self.over += 1

    async def _ask(self, number: int) -> str:
        """As often as it takes, always with one key: it makes one job."""
        key = f"chaos-{self._seed}-{number}"
        accepted = await self._insist(
            *("POST", "chat", 202),
            json={"message": question(number), "session_id": key},
            headers={"Idempotency-Key": key},
        )
        job: str = accepted["job_id"]
        self._recording.write("job", job=job, number=number, path=accepted["path"])
        self.chats[job] = accepted["chat_id"]
        return job

    async def _cancel(self, job: str, after: float) -> None:
        await asyncio.sleep(after)
        # Before it is tried: an answer may be lost, and the job be cancelled all the same.
        self._recording.write("cancel", job=job)
        await self._insist("DELETE", f"jobs/{job}", 202)

    async def _get(self, what: str) -> Any:
        return await self._insist("GET", what, 200)

    async def _insist(self, method: str, what: str, wanted: int, **given: Any) -> Any:
        """At any gateway, until one of them does it."""
        while True:
            with suppress(httpx2.TransportError):
                url = f"http://127.0.0.1:{self._port()}/api/v1/{what}"
                answer = await self._http.request(method, url, **given)
                if answer.status_code == wanted:
                    return answer.json()
                assert answer.status_code == 503, answer.text
            await asyncio.sleep(0.1)

    async def read(self, job: str, reader: str, rng: Random | None = None) -> None:
        """Until the terminal event; with `rng` in lives of 0.2 to 3 s, else in one."""
        after: str | None = None
        ended = False
        while not ended:
            port = self._port()
            visit = Visit(Stream(port, job, after), port)
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

    `arrived` has when it got something, `cut` is when the body ended without the job's end, all
    on the monotonic clock.
    """

    stream: Stream
    port: int
    begun: float = field(default_factory=time.monotonic)
    left: bool = True
    arrived: list[float] = field(default_factory=list)
    cut: float | None = None

    async def make(self, life: float | None) -> bool:
        """Whether there is no more to come."""
        stream = self.stream
        with suppress(TimeoutError):
            async with asyncio.timeout(life), stream:
                while (new := await stream.more()) is not None:
                    if new:
                        self.arrived.append(time.monotonic())
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
            "port": self.port,
            "after": stream.after,
            "status": stream.status,
            "properly": stream.properly,
            "retries": stream.retries,
            "frames": stream.seen,
            "left": self.left,
            "begun": self.begun,
            "arrived": self.arrived,
            "cut": self.cut,
            "over": time.monotonic(),
        }
