"""The places of jobs in Redis: what all gateways and workers agree on in places.lua."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from importlib.resources import files
from typing import Any, Literal, NamedTuple, cast

from sluice.domain.chat import Job, JobId
from sluice.domain.errors import Abandoned
from sluice.domain.events import CancelReason
from sluice.infrastructure.jobs.shared import Bounds, WhenBusy
from sluice.infrastructure.redis.client import RedisClient, Word

_SCRIPT = files("sluice.infrastructure.jobs.redis").joinpath("places.lua").read_text()
_PREFIX = "sluice:{jobs}:"
_PAGE = 1000
"""Jobs told of at once: Redis does nothing else meanwhile, and Lua takes 8000 words at most."""

Admission = Literal["taken", "abandoned", "conflict", "busy", "user"]


class Given(NamedTuple):
    """A job for whichever worker takes it. Each time it is given out is another round."""

    job: JobId
    round: int


class Cancel(NamedTuple):
    job: JobId
    reason: CancelReason


class Counts(NamedTuple):
    workers: int
    running: int
    waiting: int


class Places:
    def __init__(self, server: RedisClient) -> None:
        self._server = server

    async def admit(self, job: Job, bounds: Bounds, when_busy: WhenBusy) -> Admission:
        """A job that has a place already keeps it."""
        found = await self._do(
            "admit",
            *(job.id, job.user, job.chat_id, when_busy, bounds.queued),
            *(_bound(bounds.user_queued), _bound(bounds.user_running)),
        )
        admission: Admission = found.decode()
        return admission

    async def ready(self, job_id: JobId) -> bool:
        """The job may run; False if it has no place. Raises Abandoned."""
        found = await self._do("ready", job_id)
        if found == b"abandoned":
            raise Abandoned
        return bool(found)

    async def abandon(self, job_id: JobId) -> bool:
        """The job may be recorded or not: it ends as in a shutdown, if there is anything to end.

        This is for good: it is never admitted again. False if it was ready before, or has no
        place. The same happens to what is not ready in half a minute.
        """
        return bool(await self._do("abandon", job_id))

    async def cancel(self, job_id: JobId, reason: CancelReason) -> None:
        await self._do("cancel", job_id, reason)

    async def give(self, bounds: Bounds) -> Sequence[Given]:
        return _given(await self._do("give", _bound(bounds.user_running)))

    async def take(
        self, given: Given, run: str, delivery: Sequence[str] = ()
    ) -> CancelReason | Literal[""] | None:
        """Why the job is cancelled, if it is; None if this is no round of it any more.

        Nor is it if the `delivery` (its stream, group, consumer and id) is not the consumer's.
        """
        found = await self._do("take", given.job, given.round, run, *delivery)
        return None if found is None else found.decode()

    async def finish(self, job_id: JobId, run: str) -> None:
        """Another run's job is left alone."""
        await self._do("finish", job_id, run)

    async def hand_back(self, job_id: JobId, run: str) -> None:
        """To be given out again, at once; another run's job is left alone."""
        await self._do("hand_back", job_id, run)

    async def beat(
        self,
        worker: str,
        slots: int,
        lasts: float,
        jobs: Sequence[JobId],
        orphaned_after: float | None = None,
    ) -> tuple[Sequence[Given], Sequence[CancelReason | None]]:
        """What was given out and never begun; why each of the worker's jobs is cancelled.

        A worker without slots takes nothing, and is not counted among the living. Any job that
        nobody has read for `orphaned_after` seconds is cancelled, a second or two later, and
        none in less than three.
        """
        patience: Word = "" if orphaned_after is None else int(orphaned_after * 1000)
        stale, reasons = await self._do("beat", worker, slots, int(lasts * 1000), patience, *jobs)
        return _given(stale), [None if reason is None else reason.decode() for reason in reasons]

    async def are_read(self, job_ids: Sequence[JobId]) -> None:
        """By somebody, now."""
        for start in range(0, len(job_ids), _PAGE):
            await self._do("are_read", *job_ids[start : start + _PAGE])

    async def news(self) -> AsyncGenerator[Cancel | None, None]:
        """What is cancelled; None when there may be something to give out. Raises Unavailable.

        News may be missed: a heartbeat tells the same.
        """
        async with aclosing(self._server.listen(f"{_PREFIX}news")) as messages:
            async for message in messages:
                job, _, reason = message.decode().partition(" ")
                yield Cancel(job, cast("CancelReason", reason)) if job else None

    async def gone(self, worker: str) -> None:
        await self._do("gone", worker)

    async def count(self) -> Counts:
        return Counts(*await self._do("count"))

    async def _do(self, operation: str, *arguments: Word) -> Any:
        return await self._server.run(_SCRIPT, [_PREFIX], operation, *arguments)


def _bound(bound: int | None) -> Word:
    return "" if bound is None else bound


def _given(found: Sequence[Any]) -> Sequence[Given]:
    pairs = zip(found[::2], found[1::2], strict=True)
    return [Given(job.decode(), int(number)) for job, number in pairs]
