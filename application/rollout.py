"""The share in force: who may set it, in which order, and how an operator does at run time."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NoReturn, Protocol

from sluice.application.background import survives
from sluice.application.ports import Decision
from sluice.domain.chat import ExecutionPath
from sluice.domain.rollout import Flag, Share
from sluice.domain.share_change import ShareChange

logger = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
"""A change made elsewhere is in force within two seconds, also if nobody tells of it."""


class ShareSource(Protocol):
    """Somebody who may set the share. What they said last is in memory: no job waits for it."""

    @property
    def flag(self) -> Flag | None:
        """None: they set none."""
        ...

    async def known(self) -> None:
        """Waits until it is known whether they set one. Raises Unavailable."""
        ...


class ShareChangesPort(Protocol):
    """The changes of the share, in the store that all processes see. Raises Unavailable."""

    async def newest(self, limit: int) -> Sequence[ShareChange]:
        """Newest first."""
        ...

    async def append(self, change: ShareChange) -> bool:
        """False, and nothing is kept, unless it is the one after the newest."""
        ...


class RolloutFlag:
    """FlagPort. The order is the environment's on and off, the request, `sources`, the percentage.

    The draw is Share's for every source, so that moving from one to another moves nobody.
    """

    def __init__(self, environment: Share, sources: Sequence[ShareSource] = ()) -> None:
        self.environment, self._sources = environment, sources

    async def decide(self, key: str, asked: ExecutionPath | None = None) -> Decision:
        if not self.environment.fixed:
            for source in self._sources:
                await source.known()
        flag = self.flag
        if asked is not None and not self.environment.fixed:
            return Decision(asked, replace(flag, reason="header"))
        return Decision("A2" if Share(flag.share).holds(key) else "A1", flag)

    @property
    def flag(self) -> Flag:
        """What is in force now."""
        percent = self.environment.percent
        if self.environment.fixed:
            return Flag(percent, "static", "env")
        told = (source.flag for source in self._sources)
        return next(filter(None, told), Flag(percent, "split", "env"))


class ControlShare:
    """The share that operators set at run time. While its store is away, the last one known."""

    def __init__(self, changes: ShareChangesPort, *, poll: float = _POLL_SECONDS) -> None:
        self._changes, self._poll = changes, poll
        self.latest: ShareChange | None = None
        """The newest change, as far as it is known here."""
        self._known = self._stale = False
        self._reading, self._woken = asyncio.Lock(), asyncio.Event()

    @property
    def flag(self) -> Flag | None:
        latest = self.latest
        if latest is None or latest.after is None:
            return None
        reason = "stale" if self._stale else "control"
        return Flag(latest.after, reason, "control", latest.rollout)  # type: ignore[arg-type]

    async def known(self) -> None:
        if not self._known:
            await self.refresh()

    async def refresh(self) -> None:
        """What others have changed holds here when this returns. Raises Unavailable."""
        async with self._reading:  # one after the other: an older state never replaces a newer
            try:
                newest = await self._changes.newest(1)
            except Exception:
                self._note(stale=True)
                raise
            latest = newest[0] if newest else None
            if latest != self.latest:
                _tell(latest)
            self.latest, self._known = latest, True
            self._note(stale=False)

    def wake(self) -> None:
        """Somebody changed it."""
        self._woken.set()

    async def keep(self) -> NoReturn:
        """Refreshes it again and again, until it is cancelled."""
        while True:
            self._woken.clear()
            await survives(self.refresh(), "reading the share")
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll):
                    await self._woken.wait()

    def _note(self, *, stale: bool) -> None:
        """Tells the operator when it begins and ends."""
        if stale and not self._stale:
            logger.warning("the store of the share cannot be read: the last one known stays")
        elif self._stale and not stale:
            logger.warning("the store of the share can be read again")
        self._stale = stale


def _tell(latest: ShareChange | None) -> None:
    if latest is not None:
        share = "given back" if latest.after is None else f"{latest.after:g} %"
        logger.info("operators' share: %s (change %d)", share, latest.number)
