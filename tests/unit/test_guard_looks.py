"""One look of the guard: what it reads, when it judges, what it keeps and whom it tells."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sluice.application import guard as guarding
from sluice.application.compact_json import compact
from sluice.application.guard import GUARD, Guard, SoleDecider
from sluice.application.rollout import ControlShare
from sluice.domain.guard.plan import Plan
from sluice.domain.share_change import ShareChange
from tests.unit.rollouts import AT, Announced, Changes, Outcomes

EVER = datetime(1970, 1, 1, tzinfo=UTC)
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


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    clock = [-9.0]  # the first look is a second after the beginning
    monkeypatch.setattr(guarding, "now", lambda: AT)
    monkeypatch.setattr(guarding, "monotonic", lambda: clock[0])
    return House(clock)


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
    house.happens(20, 0)
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


async def test_what_is_held_by_hand_is_looked_at_and_not_promoted(house: House) -> None:
    house.changes.kept[0] = replace(RUNS, state="held")
    house.happens(2, 2)
    await house.look()
    assert len(house.changes.kept) == 1
    assert len(house.outcomes.seen) == 1
    assert house.guard.decides


async def test_only_what_is_settled_is_read_and_what_was_read_only_overlaps(house: House) -> None:
    await house.look()
    house.outcomes.at = AT + timedelta(seconds=10)
    await house.look()
    until, later = AT - timedelta(seconds=2), AT + timedelta(seconds=8)
    assert house.outcomes.asked == [
        ("r", (EVER, 0), until, 1000),
        ("r", (until - timedelta(seconds=10), 0), later, 1000),
    ]


async def test_a_long_rollout_is_read_a_page_at_a_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarding, "_PAGE", 2)
    house.happens(2, 2)
    await house.look()
    rows = house.outcomes.rows
    assert house.places == [
        (EVER, 0),
        (rows[1].written_at, rows[1].number),
        (rows[3].written_at, rows[3].number),
    ]
    assert json.loads(house.outcomes.seen[0][2])["jobs"] == {"A1": 2, "A2": 2}


async def test_without_anything_new_it_is_judged_again_after_five_seconds(house: House) -> None:
    house.changes.overtaken = True  # nothing is changed by it
    judged = []
    for later, happened in ((10, 0), (4.9, 0), (0.1, 0), (1, 1), (0, 0)):
        house.happens(happened, 0)
        await house.look(later=later)
        judged.append(len(house.outcomes.seen))
    assert judged == [1, 1, 2, 3, 3]
    house.changes.kept.append(replace(RUNS, number=2))
    await house.look(later=0)
    assert len(house.outcomes.seen) == 4
    assert house.guard.decisions == Counter()
    assert house.announced.times == 0
    house.changes.overtaken = False
    await house.look()
    assert house.guard.decisions == Counter({("hold", "promotion"): 1})


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


@pytest.mark.parametrize("latest", [None, replace(RUNS, plan=None), replace(RUNS, state="stopped")])
async def test_where_no_plan_runs_nobody_is_asked_and_nothing_is_remembered(
    house: House, latest: ShareChange | None
) -> None:
    await house.look()
    asked, reads = house.decider.asked, len(house.outcomes.asked)
    kept, house.changes.kept = house.changes.kept, [] if latest is None else [latest]
    await house.look()
    assert (house.guard.decides, house.guard.evidence) == (False, {})
    assert (house.decider.asked, len(house.outcomes.asked)) == (asked, reads)
    house.changes.kept = kept
    await house.look(later=0)
    assert house.places[-1] == (EVER, 0)
    assert len(house.outcomes.seen) == 2


async def test_whoever_decides_no_more_reads_anew_when_it_decides_again(house: House) -> None:
    await house.look()
    house.decider.is_it = False
    await house.look()
    assert (house.guard.decides, house.guard.evidence) == (False, {})
    house.decider.is_it = True
    await house.look(later=0)
    assert (house.guard.decides, house.places) == (True, [(EVER, 0)] * 2)
    assert len(house.outcomes.seen) == 2


async def test_another_rollout_is_read_from_its_beginning(house: House) -> None:
    house.happens(2, 1)
    await house.look()
    house.changes.kept.append(replace(RUNS, number=len(house.changes.kept) + 1, rollout="other"))
    await house.look()
    assert house.places == [(EVER, 0)] * 2
    assert json.loads(house.outcomes.seen[-1][2])["jobs"] == {}


async def test_another_plan_is_read_from_its_beginning(house: House) -> None:
    await house.look()
    other = replace(PLAN, late=3)
    house.changes.kept.append(replace(RUNS, number=len(house.changes.kept) + 1, plan=other))
    await house.look()
    assert house.places == [(EVER, 0)] * 2


async def test_a_change_that_was_not_known_yet_is_decided_on_at_the_next_look(
    house: House,
) -> None:
    house.clock[0] += 10
    await house.control.refresh()
    house.changes.kept.append(replace(RUNS, number=2, after=100))
    await house.guard.look()
    assert (house.guard.decides, house.outcomes.asked) == (False, [])
    await house.guard.look()
    assert house.guard.decides


async def test_whoever_stops_looking_lets_another_decide(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarding, "_INTERVAL_SECONDS", 0)
    task = asyncio.create_task(house.guard.keep())
    while not house.decider.asked:
        await house.control.refresh()
        await asyncio.sleep(0)
    assert house.decider.released == 0
    task.cancel()
    await asyncio.wait([task])
    assert house.decider.released == 1
