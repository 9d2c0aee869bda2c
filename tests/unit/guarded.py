"""A rollout with its guard, which looks when a test says so."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from sluice.application import guard as guarding
from sluice.application.guard import Guard
from sluice.application.rollout import ControlShare
from sluice.domain.guard.plan import Plan
from sluice.domain.share_change import ShareChange
from tests.unit.rollouts import AT, Announced, Changes, Outcomes

PLAN = Plan.parse(
    {
        "steps": [{"share": 50, "seconds": 60, "users": 2}, {"share": 100}],
        "limits": {"ratio": "any"},
    }
)


RUNS = ShareChange(
    1, AT - timedelta(hours=1), "ann", 0, 50, "go", "r", PLAN, "running", AT - timedelta(minutes=2)
)


@dataclass
class Decider:
    is_it: bool = True
    asked: int = 0
    released: int = 0

    async def held(self) -> bool:
        self.asked += 1
        return self.is_it

    async def release(self) -> None:
        self.released += 1


@dataclass
class House:
    clock: list[float]
    changes: Changes = field(default_factory=lambda: Changes([RUNS]))
    outcomes: Outcomes = field(default_factory=Outcomes)
    decider: Decider = field(default_factory=Decider)
    announced: Announced = field(default_factory=Announced)

    def __post_init__(self) -> None:
        self.guard = self.another()

    def another(self) -> Guard:
        stores: Any = self.outcomes
        self.control = ControlShare(self.changes)
        return Guard(self.control, self.changes, stores, self.decider, self.announced)

    async def look(self, *, later: float = 10) -> None:
        self.clock[0] += later
        await self.control.refresh()
        await self.guard.look()

    def happens(self, a1: int, a2: int, **a2s: Any) -> None:
        for _ in range(a1):
            self.outcomes.write()
        for _ in range(a2):
            self.outcomes.write(arm="A2", **a2s)

    @property
    def places(self) -> list[Any]:
        return [place for _, place, *_ in self.outcomes.asked]


def house_of(monkeypatch: pytest.MonkeyPatch) -> House:
    clock = [-9.0]  # the first look is a second after the beginning
    monkeypatch.setattr(guarding, "now", lambda: AT)
    monkeypatch.setattr(guarding, "monotonic", lambda: clock[0])
    return House(clock)
