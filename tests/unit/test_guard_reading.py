"""What the guard reads, when it judges anew, and when it forgets what it has read."""

import asyncio
import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sluice.application import guard as guarding
from sluice.domain.share_change import ShareChange
from tests.unit.guarded import PLAN, RUNS, House, house_of
from tests.unit.rollouts import AT
from tests.waiting import until

EVER = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    return house_of(monkeypatch)


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
    monkeypatch.setattr(guarding, "_PAGE", 3)
    house.happens(9, 9)
    async with asyncio.timeout(4):  # it lets others run in between, and waits for nothing
        await house.look()
    read = [(row.written_at, row.number) for row in house.outcomes.rows]
    assert house.places == [(EVER, 0), *read[2::3]]
    assert json.loads(house.outcomes.seen[0][2])["jobs"] == {"A1": 9, "A2": 9}


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
    holds = [change for change in house.changes.kept if change.verdict is not None]
    assert [change.rollout for change in holds] == ["r", "other"], "each says why it holds"
    assert house.guard.decisions == Counter({("hold", "promotion"): 2})


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


async def test_whoever_looks_on_reads_what_is_new_and_lets_another_decide_when_it_stops(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarding, "_INTERVAL_SECONDS", 0)
    await house.control.refresh()
    task = asyncio.create_task(house.guard.keep())
    await until(lambda: len(house.places) >= 2)
    assert house.places.count((EVER, 0)) == 1
    assert house.guard.decides
    assert house.decider.released == 0
    task.cancel()
    await asyncio.wait([task])
    assert house.decider.released == 1
