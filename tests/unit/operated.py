"""A rollout and what operators can do with it."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from sluice.application.rollout import ControlShare, RolloutFlag
from sluice.application.rollout_changes import (
    SetShare,
    ShowRollout,
    StartPlan,
    SteerPlan,
)
from sluice.domain.guard.plan import Plan
from sluice.domain.rollout import Share
from sluice.domain.share_change import ShareChange
from tests.unit.rollouts import AT, Announced, Changes, Outcomes

PLAN = Plan.parse({"steps": [{"share": 5}, {"share": 50}], "limits": {"late_seconds": 3}})


RUNS = ShareChange(
    1, AT - timedelta(hours=1), "eve", 0, 25, "go", "r", PLAN, "running", AT, {"rule": "promotion"}
)


@dataclass
class House:
    changes: Changes = field(default_factory=Changes)
    outcomes: Outcomes = field(default_factory=Outcomes)
    announced: Announced = field(default_factory=Announced)
    environment: Share = field(default_factory=lambda: Share(10))

    def __post_init__(self) -> None:
        self.control = ControlShare(self.changes)
        self.flag = RolloutFlag(self.environment, [self.control])
        stores: Any = self.outcomes
        flag, control, changes = self.flag, self.control, self.changes
        self.set = SetShare(flag, control, changes, self.announced)
        self.start = StartPlan(flag, control, changes, stores, self.announced)
        self.steer = SteerPlan(flag, control, changes, self.announced)
        self.show = ShowRollout(flag, control, changes, stores)

    @property
    def last(self) -> ShareChange:
        return self.changes.kept[-1]


def started(state: Any, **fields: Any) -> House:
    house = House()
    house.changes.kept.append(replace(RUNS, state=state, **fields))
    return house
