"""What the embedded and the distributed queue have in common, beside their policy."""

import asyncio
from datetime import datetime
from typing import Any, Protocol

from sluice.application.ports import Record, Stop
from sluice.domain.chat import Job


class Run(Protocol):
    """ProcessChat, on the job's own path: returns until when it waits for a human, if it does."""

    async def __call__(
        self, job: Job, stop: Stop, after: int | None = None, returns: int = 0, /
    ) -> datetime | None: ...


def stop(task: asyncio.Task[Any]) -> None:
    """Behind its first step: a task cancelled before it would do nothing, not even its end."""
    asyncio.get_running_loop().call_soon(task.cancel)


async def recorded(record: Record, undo: Record) -> None:
    """Raises what `record` does, once that is undone."""
    try:
        await record()
    except Exception:
        await undo()
        raise
