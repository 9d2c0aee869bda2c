"""A change of the share, with the plan that it belongs to: a rollout's history is made of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sluice.domain.guard.plan import Plan

PlanState = Literal["running", "held", "stepped_back", "stopped"]
"""`running`: the guard promotes. `held`: it does not, but steps back. In the others it is out."""


@dataclass(frozen=True, slots=True)
class ShareChange:
    """What an operator did, or the guard. `number` counts from 1, without a gap.

    `before` is the share that was in force, whoever had set it; `after` is None where the share
    was given back to the flag provider or the environment. All changes from the first share to
    that are one rollout; a plan begins another one.

    `plan` and its `state` hold until the next change, and `since` is when the share of `after`
    began. `verdict` is what the guard decided upon, its inputs with it.
    """

    number: int
    at: datetime
    by: str
    before: float
    after: float | None
    why: str | None
    rollout: str
    plan: Plan | None = None
    state: PlanState | None = None
    since: datetime | None = None
    verdict: Mapping[str, Any] | None = None
