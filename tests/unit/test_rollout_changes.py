"""What operators do with the share: each step a record, behind the newest one only."""

from dataclasses import replace
from typing import Any

import pytest

from sluice.application import rollout_changes
from sluice.application.rollout_changes import (
    SetShare,
    StartPlan,
    Steer,
)
from sluice.domain.errors import Conflict, Outdated
from sluice.domain.rollout import Flag, Share
from sluice.domain.share_change import ShareChange
from tests.unit.operated import PLAN, RUNS, House, started
from tests.unit.rollouts import AT, Announced

OPEN = replace(PLAN, late=None)


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(rollout_changes, "now", lambda: AT)
    return House()


async def test_the_first_share_begins_a_rollout_and_is_in_force(house: House) -> None:
    await house.set("ann", 25, "go", after=0)
    rollout = house.last.rollout
    assert house.changes.kept == [ShareChange(1, AT, "ann", 10, 25, "go", rollout)]
    assert rollout
    assert house.changes.limits == [1, 1]
    assert house.flag.flag == Flag(25, "control", "control", rollout)
    assert house.announced.times == 1


async def test_the_next_share_is_of_the_same_rollout_until_it_is_given_back(house: House) -> None:
    await house.set("ann", 25, None, after=0)
    await house.set("bob", 0, None, after=1)
    await house.set("ann", None, "enough", after=None)
    first, second, back = house.changes.kept
    assert second == replace(first, number=2, by="bob", before=25, after=0)
    assert back == replace(first, number=3, before=0, after=None, why="enough")
    assert house.flag.flag == Flag(10, "split", "env")
    await house.set("ann", 25, None, after=3)
    assert house.last == replace(first, number=4, rollout=house.last.rollout)
    assert house.last.rollout not in ("", first.rollout)


@pytest.mark.parametrize(("there", "after"), [(0, 1), (1, 0), (1, 2)])
async def test_what_was_changed_meanwhile_is_refused(house: House, there: int, after: int) -> None:
    for _ in range(there):
        await house.set("ann", 5, None, after=None)
    with pytest.raises(Outdated):
        await house.set("ann", 25, None, after=after)
    with pytest.raises(Outdated):
        await house.start("ann", PLAN, None, after=after)
    assert len(house.changes.kept) == there


async def test_who_is_overtaken_while_writing_is_told_and_tells_nobody(house: House) -> None:
    house.changes.overtaken = True
    with pytest.raises(Outdated):
        await house.set("ann", 25, None, after=None)
    assert house.announced.times == 0


async def test_a_share_holds_here_though_the_others_cannot_be_told() -> None:
    house = House(announced=Announced(away=True))
    await house.set("ann", 25, None, after=0)
    assert house.flag.flag.share == 25
    assert house.announced.times == 1


async def test_nothing_is_changed_where_the_environment_decides() -> None:
    house = House(environment=Share.parse("true"))
    with pytest.raises(Conflict):
        await house.set("ann", 25, None, after=None)
    assert house.changes.kept == []


async def test_nobody_else_need_be_told() -> None:
    house = House()
    await SetShare(house.flag, house.control, house.changes)("ann", 25, None, after=0)
    stores: Any = house.outcomes
    alone = StartPlan(house.flag, house.control, house.changes, stores)
    await alone("ann", PLAN, None, after=1)
    assert house.flag.flag.share == 5


async def test_a_plan_begins_a_rollout_with_its_first_step(house: House) -> None:
    await house.start("ann", PLAN, "go", after=0)
    rollout = house.last.rollout
    assert rollout
    assert house.changes.kept == [
        ShareChange(1, AT, "ann", 10, 5, "go", rollout, PLAN, "running", AT)
    ]
    assert (house.flag.flag.share, house.announced.times) == (5, 1)
    assert house.outcomes.asked == []


@pytest.mark.parametrize("state", ["stopped", "stepped_back", None])
async def test_a_plan_behind_another_begins_a_rollout_of_its_own(state: Any) -> None:
    house = started(state)
    await house.control.refresh()
    await house.start("ann", PLAN, None, after=1)
    assert (house.last.number, house.last.before, house.last.after) == (2, 25, 5)
    assert house.last.rollout not in ("", "r")
    assert house.last.verdict is None


@pytest.mark.parametrize("state", ["running", "held"])
async def test_a_plan_does_not_begin_while_another_one_is_under_way(state: Any) -> None:
    with pytest.raises(Conflict, match="a plan runs already"):
        await started(state).start("ann", PLAN, None, after=None)


async def test_late_is_what_is_later_than_nineteen_in_twenty_of_a1s_answers(house: House) -> None:
    for n in range(100):
        house.outcomes.write(rollout=None, took=100 - n)
    for _ in range(10):
        house.outcomes.write(rollout=None, took=5000, arm="A2")
        house.outcomes.write(rollout=None, took=5000, left_out="header")
        house.outcomes.write(rollout=None, answered_at=None)
        house.outcomes.write(rollout="r", took=5000)
    await house.start("ann", OPEN, None, after=0)
    assert house.last.plan == replace(OPEN, late=96)
    assert house.outcomes.asked == [(None, 2000)]


async def test_of_fewer_than_a_hundred_answers_it_is_not_known_what_is_late(house: House) -> None:
    for _ in range(99):
        house.outcomes.write(rollout=None)
    await house.start("ann", OPEN, None, after=0)
    assert house.last.plan == OPEN


async def test_late_goes_by_the_rollout_that_was_under_way_before() -> None:
    house = started("stopped")
    for _ in range(100):
        house.outcomes.write(took=7)
    await house.start("ann", OPEN, None, after=None)
    assert house.last.plan == replace(OPEN, late=7)
    assert house.outcomes.asked == [("r", 2000)]


STEPS: list[tuple[Any, Steer]] = [
    ("running", "held"),
    ("held", "running"),
    ("running", "stopped"),
    ("held", "stopped"),
    ("stepped_back", "stopped"),
]


@pytest.mark.parametrize(("state", "to"), STEPS)
async def test_a_plan_is_steered_and_its_share_stays(state: Any, to: Steer, house: House) -> None:
    house.changes.kept.append(replace(RUNS, state=state))
    await house.control.refresh()
    await house.steer("ann", to, "lunch", after=1)
    assert house.last == ShareChange(2, AT, "ann", 25, 25, "lunch", "r", PLAN, to, RUNS.since)
    assert house.announced.times == 1


ALL: list[Steer] = ["running", "held", "stopped"]


@pytest.mark.parametrize("state", ["running", "held", "stopped", "stepped_back"])
@pytest.mark.parametrize("to", ALL)
async def test_a_plan_is_told_only_what_it_can_be(state: Any, to: Steer) -> None:
    if (state, to) in STEPS:
        return
    with pytest.raises(Conflict, match=f"^the plan cannot be made {to}: it is {state}$"):
        await started(state).steer("ann", to, None, after=None)


@pytest.mark.parametrize("fields", [None, {"plan": None}])
async def test_where_no_plan_runs_none_is_steered(fields: Any) -> None:
    house = House() if fields is None else started("running", **fields)
    with pytest.raises(Conflict, match=r"^the plan cannot be made held: no plan runs$"):
        await house.steer("ann", "held", None, after=None)


async def test_a_step_of_a_plan_that_was_changed_meanwhile_is_refused() -> None:
    with pytest.raises(Outdated):
        await started("running").steer("ann", "held", None, after=2)
