"""One look of the guard: what it decides, what it keeps and whom it tells."""

import logging
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from sluice.application import guard as guarding
from sluice.application.compact_json import compact
from sluice.application.guard import GUARD, Guard, SoleDecider
from sluice.application.rollout import ControlShare
from sluice.domain.guard.plan import Plan
from sluice.domain.guard.rules import DECISIONS
from tests.unit.guarded import PLAN, RUNS, House, house_of
from tests.unit.rollouts import AT


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    return house_of(monkeypatch)


async def test_each_kind_of_decision_is_counted_from_nought(house: House) -> None:
    assert dict(house.guard.decisions) == dict.fromkeys(DECISIONS, 0)


async def test_a_good_step_is_promoted_with_all_that_was_seen(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    house.happens(2, 3)
    await house.look()
    none = {"A1": 0, "A2": 0}
    told = {
        "action": "promote",
        "rule": "promotion",
        "sentence": "50 % is good: on to 100 %.",
        "share": 100.0,
        "jobs": {"A1": 2, "A2": 3},
        "users": {"A1": 2, "A2": 3},
        "first_bad_events": {"failed": none, "late": none, "left": none, "spoiled": none},
        "evidence": {"failed": 1.0, "late": 1.0, "left": 1.0, "spoiled": 1.0, "slow": 1.0},
        "needed": {"failed": 40.0, "late": 160.0, "left": 160.0, "spoiled": 160.0, "slow": 160.0},
        "ratio_at_most": {"failed": None, "late": None, "left": None, "spoiled": None},
        "split": house.changes.kept[-1].verdict and house.changes.kept[-1].verdict["split"],
    }
    why = "50 % is good: on to 100 %."
    change = replace(
        RUNS, number=2, at=AT, by=GUARD, before=50, after=100, why=why, since=AT, verdict=told
    )
    assert house.changes.kept == [RUNS, change]
    assert house.control.latest == change
    assert house.outcomes.seen == [("r", AT, compact({"at": AT.isoformat(), **told}))]
    assert house.guard.evidence == told["evidence"]
    assert house.guard.decides
    assert house.guard.decisions == Counter({("promote", "promotion"): 1})
    assert house.announced.times == 1
    (line,) = [one for one in caplog.records if one.name == guarding.__name__]
    assert (line.levelno, line.getMessage()) == (logging.INFO, f"rollout r: {why} (promote)")


async def test_a_worse_a2_steps_back_and_the_plan_is_over(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.happens(20, 20, status="failed", error="internal", answered_at=None)
    await house.look()
    back = house.changes.kept[-1]
    assert back == replace(
        RUNS,
        number=2,
        at=AT,
        by=GUARD,
        before=50,
        after=0,
        why=back.why,
        state="stepped_back",
        since=AT,
        verdict=back.verdict,
    )
    assert back.verdict is not None
    assert back.verdict["first_bad_events"]["failed"] == {"A1": 0, "A2": 20}
    assert house.guard.decisions == Counter({("step_back", "failed"): 1})
    (line,) = [one for one in caplog.records if one.name == guarding.__name__]
    assert line.levelno == logging.WARNING
    await house.look()
    assert (house.guard.decides, house.guard.evidence) == (False, {})
    assert len(house.changes.kept) == 2


async def test_a_step_that_is_held_says_so_once_and_keeps_its_beginning(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    house.happens(1, 2)
    for _ in range(3):
        await house.look()
    held = house.changes.kept[-1]
    why = "A1 has 1 of 2 users in this step."
    assert held == replace(
        RUNS, number=2, at=AT, by=GUARD, before=50, why=why, verdict=held.verdict
    )
    assert len(house.changes.kept) == 2
    assert len(house.outcomes.seen) == 3
    (line,) = [one for one in caplog.records if one.name == guarding.__name__]
    assert line.levelno == logging.INFO
    house.guard = house.another()
    await house.look()
    assert len(house.changes.kept) == 2, "said by another process before"


async def test_what_was_said_of_a_step_is_not_said_again_behind_an_operators_word(
    house: House,
) -> None:
    await house.look()
    assert house.changes.kept[-1].why == "A1 has 0 of 2 users in this step."
    steered = replace(house.changes.kept[-1], number=3, by="ann", state="held", verdict=None)
    house.changes.kept.append(steered)
    await house.look()
    assert house.changes.kept[-1] == steered
    house.happens(20, 1)
    await house.look()
    assert house.changes.kept[-1].verdict is not None
    assert house.changes.kept[-1].verdict["rule"] == "split"
    assert house.changes.kept[-1].state == "held"


async def test_another_rule_is_said_though_a_hold_was_said_before(house: House) -> None:
    house.happens(2, 2)
    house.changes.kept[0] = replace(RUNS, after=100, verdict={"action": "hold", "rule": "other"})
    await house.look()
    assert house.changes.kept[-1].number == 2


async def test_the_age_of_a_step_counts_from_its_beginning(house: House) -> None:
    house.changes.kept[0] = replace(RUNS, since=AT - timedelta(seconds=59))
    await house.look()
    assert house.changes.kept[-1].why == "The step is 59 of 60 seconds old."


async def test_each_step_asks_for_what_the_plan_says_of_it(house: House) -> None:
    steps = [
        {"share": 5, "seconds": 1, "users": 1},
        {"share": 50, "seconds": 60, "users": 4},
        {"share": 100},
    ]
    plan = Plan.parse(PLAN.told() | {"steps": steps})
    house.changes.kept[0] = replace(RUNS, plan=plan)
    house.happens(2, 4)
    await house.look()
    assert house.changes.kept[-1].why == "A1 has 2 of 4 users in this step."


async def test_what_is_held_by_hand_is_looked_at_and_not_promoted(house: House) -> None:
    house.changes.kept[0] = replace(RUNS, state="held")
    house.happens(2, 2)
    await house.look()
    assert len(house.changes.kept) == 1
    assert len(house.outcomes.seen) == 1
    assert house.guard.decides


async def test_others_that_cannot_be_told_find_out_by_themselves(house: House) -> None:
    house.announced.away = True
    house.happens(2, 2)
    await house.look()
    assert house.control.latest == house.changes.kept[1]


async def test_whoever_is_not_told_to_announce_decides_all_the_same(house: House) -> None:
    house.happens(2, 2)
    control, stores = ControlShare(house.changes), house.outcomes
    await control.refresh()
    await Guard(control, house.changes, stores, SoleDecider()).look()  # type: ignore[arg-type]
    assert house.changes.kept[-1].after == 100
    await SoleDecider().release()
