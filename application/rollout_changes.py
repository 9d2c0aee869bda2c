"""What operators do with the share: look at it, set it, and start, hold and stop a plan."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from sluice.application.outcomes import OutcomesPort
from sluice.application.ports import nothing
from sluice.application.rollout import ControlShare, RolloutFlag, ShareChangesPort
from sluice.application.shadows import ShowShadows
from sluice.domain.chat import ExecutionPath, UserId, new_id, now
from sluice.domain.errors import Conflict, Outdated, Unavailable
from sluice.domain.guard.figures import ArmFigures, figures
from sluice.domain.guard.plan import Plan
from sluice.domain.outcome import StoredOutcome
from sluice.domain.rollout import Flag, Share
from sluice.domain.shadow import ShadowFigures
from sluice.domain.share_change import ShareChange

_SHOWN_JOBS = 2000
"""Figures are of so many of the newest jobs."""
_CONTROL_JOBS = 100
"""So many answers of A1 are needed to say what is late."""

Steer = Literal["running", "held", "stopped"]
"""What a plan that was started can be told to be."""
_FROM: Mapping[Steer, tuple[str, ...]] = {
    "running": ("held",),
    "held": ("running",),
    "stopped": ("running", "held", "stepped_back"),
}


@dataclass(frozen=True, slots=True)
class RolloutView:
    """`number` is the newest change's, 0 before the first. While their store is away, `history`
    and `arms` are None. `latest` is the newest change as known here, and `looks` are the guard's,
    as JSON, newest first. `shadow` is None where there is none, too.
    """

    flag: Flag
    environment: Share
    number: int
    history: Sequence[ShareChange] | None
    latest: ShareChange | None
    arms: Mapping[ExecutionPath, ArmFigures] | None
    looks: Sequence[str]
    shadow: ShadowFigures | None = None


class ShowRollout:
    """What it shows is in force here, also if it was changed elsewhere a moment ago."""

    def __init__(
        self,
        flag: RolloutFlag,
        control: ControlShare,
        changes: ShareChangesPort,
        outcomes: OutcomesPort,
        shadows: ShowShadows | None = None,
    ) -> None:
        self._flag, self._control, self._changes = flag, control, changes
        self._outcomes, self._shadows = outcomes, shadows

    async def __call__(self, limit: int = 20, looks: int = 1) -> RolloutView:
        history: Sequence[ShareChange] | None = None
        arms: Mapping[ExecutionPath, ArmFigures] | None = None
        seen: Sequence[str] = ()
        shadow: ShadowFigures | None = None
        with suppress(Unavailable):
            history = await self._changes.newest(limit)
            await self._control.refresh()
            latest = self._control.latest
            rollout = None if latest is None or latest.after is None else latest.rollout
            rows = await self._outcomes.newest(rollout, _SHOWN_JOBS)
            arms = figures(rows, latest.plan.late if latest and latest.plan else None)
            if rollout is not None and looks:
                seen = await self._outcomes.looks(rollout, looks)
            if self._shadows is not None:
                shadow = await self._shadows()
        number = history[0].number if history else 0
        flag, environment, latest = self._flag.flag, self._flag.environment, self._control.latest
        return RolloutView(flag, environment, number, history, latest, arms, seen, shadow)


class _Changing:
    """`announce` tells the other gateways, which would find out by themselves."""

    def __init__(
        self,
        flag: RolloutFlag,
        control: ControlShare,
        changes: ShareChangesPort,
        announce: Callable[[], Awaitable[None]] = nothing,
    ) -> None:
        self._flag, self._control = flag, control
        self._changes, self._announce = changes, announce

    async def _newest(self, after: int | None) -> ShareChange | None:
        """Raises Outdated unless it is `after`; None takes whatever is the newest."""
        if self._flag.environment.fixed:
            raise Conflict("ENABLE_TOKEN_STREAMING says true or false, which decides")
        newest = await self._changes.newest(1)
        last = newest[0] if newest else None
        if after not in (None, last.number if last else 0):
            raise Outdated
        return last

    async def _append(self, change: ShareChange) -> None:
        if not await self._changes.append(change):
            raise Outdated
        await self._control.refresh()
        with suppress(Unavailable):
            await self._announce()


class SetShare(_Changing):
    """It ends a plan that runs: from then on the share is the operator's."""

    async def __call__(
        self, by: UserId, share: float | None, why: str | None, *, after: int | None
    ) -> None:
        """In force here when this returns. A `share` of None gives it back.

        Raises Conflict where the environment says on or off, Outdated unless `after` is the newest
        change's number, and Unavailable. `after` of None takes whatever is the newest.
        """
        last = await self._newest(after)
        goes_on = last is not None and last.after is not None
        change = ShareChange(
            number=last.number + 1 if last else 1,
            at=now(),
            by=by,
            before=self._flag.flag.share,
            after=share,
            why=why,
            rollout=last.rollout if last and goes_on else new_id(),
        )
        await self._append(change)


class StartPlan(_Changing):
    def __init__(
        self,
        flag: RolloutFlag,
        control: ControlShare,
        changes: ShareChangesPort,
        outcomes: OutcomesPort,
        announce: Callable[[], Awaitable[None]] = nothing,
    ) -> None:
        super().__init__(flag, control, changes, announce)
        self._outcomes = outcomes

    async def __call__(self, by: UserId, plan: Plan, why: str | None, *, after: int | None) -> None:
        """A rollout begins with the plan's first step. Raises as SetShare, and Conflict if a plan
        runs.

        Without a limit of its own, late is what is later than 95 % of A1's answers were before.
        """
        last = await self._newest(after)
        if last is not None and last.state in ("running", "held"):
            raise Conflict("a plan runs already: stop it first")
        if plan.late is None:
            rows = await self._outcomes.newest(last.rollout if last else None, _SHOWN_JOBS)
            plan = replace(plan, late=_ninety_fifth(rows))
        at = now()
        change = ShareChange(
            number=last.number + 1 if last else 1,
            at=at,
            by=by,
            before=self._flag.flag.share,
            after=plan.steps[0].share,
            why=why,
            rollout=new_id(),
            plan=plan,
            state="running",
            since=at,
        )
        await self._append(change)


class SteerPlan(_Changing):
    async def __call__(self, by: UserId, to: Steer, why: str | None, *, after: int | None) -> None:
        """The share stays. Raises as SetShare, and Conflict where the plan cannot be told that."""
        last = await self._newest(after)
        if last is None or last.plan is None or last.state not in _FROM[to]:
            there = "no plan runs" if last is None or last.plan is None else f"it is {last.state}"
            raise Conflict(f"the plan cannot be made {to}: {there}")
        before = self._flag.flag.share
        number = last.number + 1
        await self._append(
            replace(
                last, number=number, at=now(), by=by, before=before, why=why, state=to, verdict=None
            )
        )


def _ninety_fifth(rows: Sequence[StoredOutcome]) -> float | None:
    """Of A1's seconds to the whole answer; None for too few of them."""
    took = sorted(
        (one.answered_at - one.admitted_at).total_seconds()
        for one in (row.outcome for row in rows)
        if one.arm == "A1" and one.left_out is None and one.answered_at is not None
    )
    return took[len(took) * 95 // 100] if len(took) >= _CONTROL_JOBS else None
