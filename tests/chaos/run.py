"""A run: clients ask and read while what answers them is disturbed; everything is recorded."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from tests.chaos.clients import Clients
from tests.chaos.lanes import Lane
from tests.chaos.record import Recording
from tests.chaos.upstream import ChaosModel

SETTINGS = {
    "ENABLE_TOKEN_STREAMING": "60%",
    "SLUICE_FIRST_TOKEN_TIMEOUT": "5",
    "SLUICE_IDLE_TIMEOUT": "3",
    "SLUICE_SHUTDOWN_GRACE": "1",
    "SLUICE_LOG_LEVEL": "INFO",
    "OPENAI_API_KEY": "key",
    "OPENAI_MODEL": "m",
    "SLUICE_PIPELINE": "tests.chaos.graph:build",
}
SETTLED_WITHIN = 90
_TOLD_EVERY = 5


class Arena(Protocol):
    """What serves the clients, and how each part of it is disturbed."""

    lanes: Sequence[Lane]

    def port(self) -> int:
        """Of any gateway, asked anew for every request."""
        ...

    async def left(self, job: str) -> dict[str, float]:
        """What it still holds when there is nothing to do; `job` is one that it has told."""
        ...


Progress = Callable[[str], None]
Opened = Callable[[Path, ChaosModel], AbstractAsyncContextManager[Arena]]


async def run(folder: Path, seed: int, seconds: float, progress: Progress, opened: Opened) -> Path:
    """Returns the recording. The folder should hold no store of an earlier run."""
    path = folder / f"chaos-{seed}.jsonl"
    recording = Recording(path)
    recording.write("run", seed=seed, seconds=seconds)
    try:
        async with ChaosModel(seed, recording.write) as model, opened(folder, model) as arena:
            clients = Clients(seed, arena.port, recording)
            try:
                await _disturbed(arena.lanes, clients, recording, seed, seconds, progress)
                progress(f"reading {len(clients.chats)} jobs once more")
                await clients.look_back()
            finally:
                await clients.aclose()
            progress("looking for what is left")
            left = await arena.left(next(reversed(clients.chats)))
            model.tell_sent()
            recording.write("end", left=left)
    finally:
        recording.close()
    return path


async def _disturbed(
    lanes: Sequence[Lane],
    clients: Clients,
    recording: Recording,
    seed: int,
    seconds: float,
    progress: Progress,
) -> None:
    stop = asyncio.Event()
    end = time.monotonic() + seconds
    try:
        async with asyncio.timeout(seconds + SETTLED_WITHIN), asyncio.TaskGroup() as group:
            group.create_task(clients.run(stop))
            for lane in lanes:
                group.create_task(lane.run(seed, recording, stop))
            while (left := end - time.monotonic()) > 0:
                progress(f"{left:.0f} s to go; {clients.over} jobs over; {recording.counts}")
                await asyncio.sleep(min(left, _TOLD_EVERY))
            progress("mending, and waiting for what runs")
            stop.set()
    except TimeoutError as error:
        error.add_note(f"not over: {clients.waiting}")
        raise
