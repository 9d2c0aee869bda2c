"""The guard of a rollout: reads what became of its jobs, and turns the share by itself.

Of all processes one decides. Whoever it is reads the rollout's outcomes from its beginning, so
that another one goes on where it was; and a change is kept only behind the newest one, so that two
who believe to be the one cannot undo each other.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import isfinite
from time import monotonic
from typing import Any, NoReturn, Protocol

from sluice.application.background import survives
from sluice.application.compact_json import compact
from sluice.application.outcomes import OutcomesPort
from sluice.application.ports import nothing
from sluice.application.rollout import ControlShare, ShareChangesPort
from sluice.domain.chat import now
from sluice.domain.errors import Unavailable
from sluice.domain.guard.observed import Observation
from sluice.domain.guard.plan import Plan
from sluice.domain.guard.rules import DECISIONS, Step, Verdict, Watched, judge
from sluice.domain.guard.tally import METRICS
from sluice.domain.share_change import ShareChange

logger = logging.getLogger(__name__)

GUARD = "guard"
"""Who has changed the share."""
_INTERVAL_SECONDS = 1.0
_AGAIN_SECONDS = 5.0
"""Without a new outcome it is judged again so often: a step also grows old."""
_SETTLED = timedelta(seconds=2)
"""After its writing an outcome waits for what its readers' gateways tell of it."""
_OVERLAP = timedelta(seconds=10)
"""What took longer to be committed than others that were begun later is found all the same."""
_PAGE = 1000
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


class DeciderPort(Protocol):
    """Which of all processes decides."""

    async def held(self) -> bool:
        """Whether it is this one, which it becomes if nobody is. Raises Unavailable."""
        ...

    async def release(self) -> None:
        """Another one may be it."""
        ...


class SoleDecider:
    """Of a store that belongs to one process: whoever holds the store decides."""

    async def held(self) -> bool:
        return True

    async def release(self) -> None:
        """There is nobody else."""


class Guard:
    """`decisions` counts by action and rule, `evidence` is by metric; both of this process.

    `announce` tells the other gateways that the share was changed.
    """

    def __init__(
        self,
        control: ControlShare,
        changes: ShareChangesPort,
        outcomes: OutcomesPort,
        decider: DeciderPort,
        announce: Callable[[], Awaitable[None]] = nothing,
    ) -> None:
        self._control, self._changes, self._outcomes = control, changes, outcomes
        self._decider, self._announce = decider, announce
        # Each from 0: Prometheus sees no increase in a series that begins with its first event.
        self.decisions: Counter[tuple[str, str]] = Counter(dict.fromkeys(DECISIONS, 0))
        self.evidence: Mapping[Watched, float]
        self.decides: bool
        self._observation: Observation | None
        self._rollout: str
        self._read_until: datetime
        self._told: tuple[str, str] | None
        self._judged: tuple[int, int, float]
        """The newest change and the jobs that were judged last, and when."""
        self._forget()

    async def keep(self) -> NoReturn:
        """Looks again and again, until it is cancelled."""
        try:
            while True:
                await asyncio.sleep(_INTERVAL_SECONDS)
                if not await survives(self.look(), "the guard"):
                    self._forget()
        finally:
            await self._decider.release()

    async def look(self) -> None:
        """Once: decides if it is to, on all that is settled. Raises Unavailable."""
        latest = self._control.latest
        if latest is None or latest.plan is None or latest.state not in ("running", "held"):
            self._forget()
            return
        if not await self._decider.held():
            self._forget()
            return
        await self._control.refresh()
        if self._control.latest != latest:
            return  # at the next look
        self.decides = True
        at = await self._outcomes.clock()
        observation = await self._observed(latest.rollout, latest.plan, at - _SETTLED)
        known = latest.number, sum(observation.jobs.values())
        if known == self._judged[:2] and monotonic() - self._judged[2] < _AGAIN_SECONDS:
            return
        self._judged = *known, monotonic()
        step = _step(latest, observation)
        limits = latest.plan.limits_at(step.share)
        verdict = await asyncio.to_thread(
            judge, observation.tally, step, latest.plan.shares, limits, observation.recent(at)
        )
        self.evidence = verdict.evidence
        told = told_of(verdict, observation, latest.plan)
        await self._outcomes.keep_look(latest.rollout, at, compact({"at": at.isoformat(), **told}))
        await self._act(latest, verdict, told)

    async def _observed(self, rollout: str, plan: Plan, until: datetime) -> Observation:
        """What was there and is new, a page at a time."""
        if self._observation is None or (self._rollout, self._observation.plan) != (rollout, plan):
            self._rollout, self._observation = rollout, Observation(plan)
            self._read_until, self._told = _EVER, None
        place = max(_EVER, self._read_until - _OVERLAP), 0
        while True:
            page = await self._outcomes.written(rollout, place, until, _PAGE)
            for row in page:
                self._observation.add(row)
            if len(page) < _PAGE:
                self._read_until = until
                return self._observation
            place = page[-1].written_at, page[-1].number
            await asyncio.sleep(0)  # tokens are not to wait for a long rollout

    async def _act(self, latest: ShareChange, verdict: Verdict, told: Mapping[str, Any]) -> None:
        action, rule = verdict.action, verdict.rule
        if action == "promote" and latest.state == "held":
            return
        known = latest.verdict and (latest.verdict["action"], latest.verdict["rule"])
        if action == "hold" and (action, rule) in (known, self._told):
            return
        at = now()
        change = replace(
            latest,
            number=latest.number + 1,
            at=at,
            by=GUARD,
            before=latest.after or 0.0,
            after=verdict.share,
            why=verdict.sentence,
            state="stepped_back" if action == "step_back" else latest.state,
            since=latest.since if action == "hold" else at,
            verdict=told,
        )
        if not await self._changes.append(change):
            return  # somebody was faster: at the next look
        self._told = action, rule
        self.decisions[action, rule] += 1
        level = logging.INFO if action in ("promote", "hold") else logging.WARNING
        logger.log(level, "rollout %s: %s (%s)", latest.rollout, verdict.sentence, action)
        await self._control.refresh()
        with suppress(Unavailable):
            await self._announce()

    def _forget(self) -> None:
        """Whoever decides next, here or elsewhere, reads anew."""
        self._observation, self._told, self.evidence, self.decides = None, None, {}, False
        self._judged = 0, 0, 0.0


def _step(latest: ShareChange, observation: Observation) -> Step:
    share, since = latest.after or 0.0, latest.since or latest.at
    return Step(share, (now() - since).total_seconds(), observation.users(share, since))


def told_of(verdict: Verdict, observation: Observation, plan: Plan) -> dict[str, Any]:
    """A verdict with its inputs, as it is stored and shown."""
    tally, limits = observation.tally, plan.limits
    first = {
        metric: {
            arm: sum(count for (_, hit), count in tally.bad[metric].items() if hit == (arm == "A2"))
            for arm in ("A1", "A2")
        }
        for metric in METRICS
    }
    needed = {name: limits.alpha_of(name) for name in verdict.evidence}
    return {
        "action": verdict.action,
        "rule": verdict.rule,
        "sentence": verdict.sentence,
        "share": verdict.share,
        "jobs": dict(observation.jobs),
        "users": dict(tally.users),
        "first_bad_events": first,
        "evidence": {name: _finite(value) for name, value in verdict.evidence.items()},
        "needed": {name: float(1 / alpha) if alpha else None for name, alpha in needed.items()},
        "ratio_at_most": dict(verdict.upper),
        "split": _finite(float(tally.split)),
    }


def _finite(value: float) -> float:
    return value if isfinite(value) else 1e308
