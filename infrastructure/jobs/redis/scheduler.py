"""The scheduler that all gateways and workers share: scheduler.lua, with types."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from importlib.resources import files
from typing import Any, Literal, NamedTuple, cast

from sluice.application.scheduling import Bounds, Refusal, WhenBusy
from sluice.domain.chat import Job, JobId, micros
from sluice.domain.errors import Abandoned
from sluice.domain.events import CancelReason
from sluice.infrastructure.redis.client import RedisClient, Word

_SCRIPT = files("sluice.infrastructure.jobs.redis").joinpath("scheduler.lua").read_text()
_PREFIX = "sluice:{jobs}:"
_PAGE = 1000
"""Jobs told of at once: Redis does nothing else meanwhile, and Lua takes 8000 words at most."""

Admission = Literal["taken", "abandoned"] | Refusal


class Claimed(NamedTuple):
    """A job that a worker holds from now on, and why it is cancelled already, if it is.

    `returns`: attempts of it that do not count, since a worker handed them back when it left.
    """

    job_id: JobId
    reason: CancelReason | None
    returns: int


class Held(NamedTuple):
    """A lease: the job, and the claim that took it."""

    job_id: JobId
    fence: str


class Beat(NamedTuple):
    """What a heartbeat is told: of each lease why its job is cancelled, or that it is `lost`."""

    told: Sequence[CancelReason | Literal["lost"] | None]
    claimable: bool


class Cancel(NamedTuple):
    job_id: JobId
    reason: CancelReason


News = Cancel | Literal["due", "ends"]
"""A claimed job is cancelled; or there is something to claim, for a slot or only to be ended."""


class Counts(NamedTuple):
    """Alive workers, and jobs by state."""

    workers: int
    running: int
    waiting: int
    ending: int
    paused: int


class RedisScheduler:
    """Every method raises Unavailable, and may be repeated then."""

    def __init__(self, server: RedisClient) -> None:
        self._server = server

    async def admit(self, job: Job, bounds: Bounds, when_busy: WhenBusy) -> Admission:
        """A job that was admitted before stays so."""
        found = await self._do(
            "admit",
            *(job.id, job.user, job.chat_id, when_busy, bounds.queued),
            *(_bound(bounds.user_queued), _bound(bounds.user_running)),
        )
        return cast("Admission", found.decode())

    async def ready(self, job_id: JobId) -> bool:
        """The job may run; False if there is none. Raises Abandoned."""
        found = await self._do("ready", job_id)
        if found == b"abandoned":
            raise Abandoned
        return bool(found)

    async def abandon(self, job_id: JobId) -> bool:
        """The job may be recorded or not: it ends as in a shutdown, if there is anything to end.

        This is for good: it is never admitted again. False if it was ready before, or there is
        none. The same happens to what is not ready in half a minute.
        """
        return bool(await self._do("abandon", job_id))

    async def cancel(self, job_id: JobId, reason: CancelReason) -> None:
        await self._do("cancel", job_id, reason)

    async def claim(
        self, worker: str, claim: str, *, slots: int, ends: int, bounds: Bounds, lease_s: float
    ) -> Sequence[Claimed]:
        """At most `slots` jobs to run, and `ends` that are only to be ended.

        The claim's name is their fence. It must be new, but for one whose answer was lost.
        """
        limits = slots, ends, _bound(bounds.user_running), int(lease_s * 1000)
        found = await self._do("claim", worker, claim, *limits)
        return [
            Claimed(job.decode(), cast("CancelReason", reason.decode()) or None, int(returns))
            for job, reason, returns in found
        ]

    async def beat(
        self,
        worker: str,
        slots: int,
        lease_s: float,
        held: Sequence[Held],
        unread_s: float | None = None,
    ) -> Beat:
        """Renews the leases that are still held. A worker without slots takes nothing.

        Any job that nobody has read for `unread_s` seconds is cancelled, a second or two later,
        and none in less than three.
        """
        patience: Word = "" if unread_s is None else int(unread_s * 1000)
        words = [word for lease in held for word in lease]
        told, claimable = await self._do(
            "beat", worker, slots, int(lease_s * 1000), patience, *words
        )
        reasons = [cast("CancelReason", reason.decode()) or None for reason in told]
        return Beat(reasons, bool(claimable))

    async def finish(self, held: Held) -> None:
        """The job is over; one that is held by another claim is left alone."""
        await self._do("finish", *held)

    async def release(self, held: Held, *, returned: bool = False) -> None:
        """To be claimed again, at once; one that is held by another claim is left alone.

        `returned`: an attempt had begun, and is not to count.
        """
        await self._do("release", *held, int(returned))

    async def pause(self, held: Held, until: datetime) -> None:
        """The job waits for a human, without lease and slot; then it is looked at again.

        At once, if it was woken meanwhile. One that is held by another claim is left alone.
        """
        await self._do("pause", *held, micros(until) // 1000)

    async def wake(self, job_id: JobId, within_s: float = 0) -> None:
        """A paused job waits for its turn again, at once or in so many seconds."""
        await self._do("wake", job_id, int(within_s * 1000))

    async def are_read(self, job_ids: Sequence[JobId]) -> None:
        """By somebody, now."""
        for start in range(0, len(job_ids), _PAGE):
            await self._do("are_read", *job_ids[start : start + _PAGE])

    async def gone(self, worker: str) -> None:
        await self._do("gone", worker)

    async def count(self) -> Counts:
        return Counts(*await self._do("count"))

    async def news(self) -> AsyncGenerator[News, None]:
        """First `due`, for what came before. Raises Unavailable.

        News may be missed: a heartbeat tells the same.
        """
        async with aclosing(self._server.listen(f"{_PREFIX}news")) as messages:
            async for message in messages:
                match message.decode().split(" "):
                    case ["cancel", job_id, reason]:
                        yield Cancel(job_id, cast("CancelReason", reason))
                    case ["ends"]:
                        yield "ends"
                    case _:
                        yield "due"

    async def _do(self, operation: str, *arguments: Word) -> Any:
        return await self._server.run(_SCRIPT, [_PREFIX], operation, *arguments)


def _bound(bound: int | None) -> Word:
    return "" if bound is None else bound
