"""The guard at work: it decides by outcomes only, and every decision is a record."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from sluice.application import guard as guarding
from sluice.application.guard import GUARD, Guard, SoleDecider
from sluice.application.rollout import ControlShare, RolloutFlag
from sluice.application.rollout_changes import SetShare, ShowRollout, StartPlan, SteerPlan
from sluice.domain.chat import Chat, now
from sluice.domain.errors import Conflict, Outdated
from sluice.domain.guard.plan import Plan
from sluice.domain.outcome import Delivered
from sluice.domain.rollout import Share
from sluice.domain.share_change import ShareChange
from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.flags.sqlite_changes import SqliteShareChanges
from sluice.infrastructure.outcomes.sqlite import SqliteOutcomes
from sluice.infrastructure.sqlite.database import SqliteDatabase
from tests.doubles import a_job, an_outcome

STEP = {"seconds": 0, "users": 5}
PLAN = Plan.parse(
    {
        "steps": [{"share": share, **STEP} for share in (5, 25, 50)],
        "limits": {"ratio": "any", "late_seconds": 30},
    }
)


@dataclass(eq=False)
class Rollout:
    """A rollout whose users ask and whose jobs end as they are told to."""

    database: SqliteDatabase
    environment: Share = field(default_factory=lambda: Share(0))
    names: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.chats = SqliteChats(self.database)
        self.changes = SqliteShareChanges(self.database)
        self.outcomes = SqliteOutcomes(self.database)
        self.control = ControlShare(self.changes)
        self.flag = RolloutFlag(self.environment, [self.control])
        self.start = StartPlan(self.flag, self.control, self.changes, self.outcomes)
        self.steer = SteerPlan(self.flag, self.control, self.changes)
        self.set_share = SetShare(self.flag, self.control, self.changes)
        self.guard = self.another_guard()

    def another_guard(self) -> Guard:
        control = ControlShare(self.changes)
        return Guard(control, self.changes, self.outcomes, SoleDecider())

    async def look(self, guard: Guard | None = None) -> None:
        guard = guard or self.guard
        await guard._control.refresh()
        await guard.look()
        await self.control.refresh()

    async def happens(
        self, users: int, *, bad: Mapping[str, Any] | None = None, both: bool = False
    ) -> None:
        """So many users ask for the first time; A2's jobs end as `bad`, or `both` arms' do."""
        for _ in range(users):
            user = f"user {next(self.names)}"  # the same draws in every run
            decision = await self.flag.decide(user)
            job = a_job(user=user, path=decision.path, flag=decision.flag, chat_id=user)
            await self.chats.open(Chat(job.chat_id, job.user, None, now()))
            await self.chats.add_question(job)
            fields: dict[str, Any] = {"admitted_at": now(), "ended_at": now(), "answered_at": now()}
            if bad and (both or decision.path == "A2"):
                fields |= bad
            delivered = fields.pop("delivered", None)
            outcome = an_outcome(job, **fields)
            await self.chats.keep_answer(job, "so", outcome.status, 1, outcome)
            if delivered is not None:
                at = now() + delivered if delivered else None
                await self.outcomes.keep_delivered([Delivered(job.id, at, None, bool(delivered))])

    async def until_step_back(self, bad: Mapping[str, Any], most: int = 400) -> ShareChange:
        for _ in range(most // 20):
            await self.happens(20, bad=bad)
            await self.look()
            newest = await self.newest()
            if newest.state == "stepped_back":
                return newest
        raise AssertionError("it does not step back")

    async def newest(self) -> ShareChange:
        return (await self.changes.newest(1))[0]


@pytest.fixture
async def rollout(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rollout]:
    monkeypatch.setattr(guarding, "_SETTLED", timedelta())
    database = SqliteDatabase(":memory:")
    await database.open()
    yield Rollout(database)
    await database.aclose()


async def test_a_good_step_is_promoted_and_the_next_ones_until_the_last(rollout: Rollout) -> None:
    await rollout.start("ann", PLAN, "go", after=0)
    for share in (5, 25, 50):
        assert (await rollout.newest()).after == share
        await rollout.happens(300)
        await rollout.look()
    newest = await rollout.newest()
    assert (newest.by, newest.after, newest.state) == (GUARD, 50, "running")
    assert newest.verdict is not None
    assert (newest.verdict["rule"], newest.why) == ("last", "50 % is the last step.")


async def test_a_step_without_its_users_or_its_time_is_held_and_says_so_once(
    rollout: Rollout,
) -> None:
    await rollout.start("ann", PLAN, None, after=0)
    for _ in range(3):
        await rollout.look()
    first, started = await rollout.changes.newest(9)
    assert (first.by, first.why) == (GUARD, "A1 has 0 of 5 users in this step.")
    assert (first.after, first.since, first.plan) == (5, started.since, PLAN)


@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        ({"status": "failed", "error": "pipeline_error", "answered_at": None}, "failed"),
        ({"answered_at": now() + timedelta(days=1)}, "late"),
        ({"delivered": timedelta()}, "left"),
        ({"spoiled": True}, "spoiled"),
        ({"fell_back": True}, "spoiled"),
        ({"delivered": timedelta(seconds=9)}, "slow"),
    ],
)
async def test_a_regression_of_a2_steps_back_to_the_last_good_step(
    rollout: Rollout, bad: Mapping[str, Any], rule: str
) -> None:
    told = PLAN.told()
    told["limits"] |= {"slow_seconds": 2, "slow_part": 0.05}
    told["steps"] = [{"share": share, "seconds": 9999, "users": 5} for share in (25, 50)]
    told["steps"][0]["seconds"] = 0
    await rollout.start("ann", Plan.parse(told), None, after=0)
    await rollout.happens(100)
    await rollout.look()
    assert (await rollout.newest()).after == 50
    back = await rollout.until_step_back(bad)
    assert (back.by, back.before, back.after) == (GUARD, 50, 25)
    assert back.verdict is not None
    assert back.verdict["rule"] == rule
    assert back.verdict["evidence"][rule] >= back.verdict["needed"][rule]
    assert back.why is not None
    assert back.why.startswith(f"A2 is worse in {rule}: evidence ")
    await rollout.happens(100, bad=bad)
    await rollout.look()
    assert await rollout.newest() == back, "it ramps again only by hand"


async def test_from_the_first_step_it_steps_back_to_nothing(rollout: Rollout) -> None:
    told = PLAN.told() | {"steps": [{"share": 50, "seconds": 9999, "users": 5}]}
    await rollout.start("ann", Plan.parse(told), None, after=0)
    back = await rollout.until_step_back({"status": "failed", "answered_at": None})
    assert (back.after, rollout.flag.flag.share) == (0, 0)


async def test_an_upstream_that_hurts_both_arms_holds_and_is_not_blamed_on_a2(
    rollout: Rollout,
) -> None:
    told = PLAN.told() | {"steps": [{"share": 50, "seconds": 0, "users": 5}]}
    await rollout.start("ann", Plan.parse(told), None, after=0)
    for _ in range(5):
        await rollout.happens(40, bad={"status": "failed", "answered_at": None}, both=True)
        await rollout.look()
    newest = await rollout.newest()
    assert (newest.after, newest.state) == (50, "running")
    assert newest.verdict is not None
    assert newest.verdict["rule"] == "upstream"


async def test_a_split_that_is_not_the_shares_is_held_and_not_blamed_on_a2(
    rollout: Rollout,
) -> None:
    told = PLAN.told() | {"steps": [{"share": 50, "seconds": 0, "users": 5}]}
    await rollout.start("ann", Plan.parse(told), None, after=0)
    await rollout.happens(10)
    await rollout.happens(60, bad={"arm": "A1", "status": "failed", "answered_at": None})
    await rollout.look()
    newest = await rollout.newest()
    assert newest.verdict is not None
    assert (newest.verdict["rule"], newest.after) == ("split", 50)


async def test_what_is_held_by_hand_is_not_promoted_and_still_steps_back(rollout: Rollout) -> None:
    told = PLAN.told() | {"steps": [{"share": 50, **STEP}, {"share": 100, **STEP}]}
    await rollout.start("ann", Plan.parse(told), None, after=0)
    await rollout.steer("ann", "held", "lunch", after=1)
    await rollout.happens(60)
    await rollout.look()
    assert (await rollout.newest()).after == 50
    assert (await rollout.until_step_back({"status": "failed", "answered_at": None})).after == 0


async def test_what_is_resumed_is_promoted_again(rollout: Rollout) -> None:
    await rollout.start("ann", PLAN, None, after=0)
    await rollout.steer("ann", "held", None, after=None)
    await rollout.happens(300)
    await rollout.look()
    await rollout.steer("ann", "running", None, after=None)
    await rollout.look()
    assert (await rollout.newest()).after == 25


@pytest.mark.parametrize("how", ["stopped", "set"])
async def test_a_plan_that_is_over_is_acted_on_no_more(rollout: Rollout, how: str) -> None:
    told = PLAN.told() | {"steps": [{"share": 50, **STEP}]}
    await rollout.start("ann", Plan.parse(told), None, after=0)
    if how == "set":
        await rollout.set_share("ann", 40, None, after=None)
    else:
        await rollout.steer("ann", "stopped", None, after=None)
    last = await rollout.newest()
    await rollout.happens(100, bad={"status": "failed", "answered_at": None})
    await rollout.look()
    assert await rollout.newest() == last
    assert not rollout.guard.decides


async def test_another_decider_goes_on_where_the_last_one_was(rollout: Rollout) -> None:
    told = PLAN.told() | {"steps": [{"share": 50, "seconds": 9999, "users": 5}]}
    await rollout.start("ann", Plan.parse(told), None, after=0)
    await rollout.happens(10, bad={"spoiled": True})  # too few to step back, in either arm
    await rollout.look()
    known = rollout.guard.evidence
    again = rollout.another_guard()
    await rollout.look(again)
    assert again.evidence == known
    assert len(await rollout.changes.newest(9)) == 2, "it says again what was said"
    rollout.guard = again
    assert (await rollout.until_step_back({"status": "failed", "answered_at": None})).after == 0


async def test_of_two_who_decide_at_once_one_does(rollout: Rollout) -> None:
    told = PLAN.told() | {"steps": [{"share": 50, **STEP}, {"share": 100, **STEP}]}
    await rollout.start("ann", Plan.parse(told), None, after=0)
    await rollout.happens(60)
    guards = [rollout.another_guard() for _ in range(4)]
    await asyncio.gather(*map(rollout.look, guards))
    promotions = [one for one in await rollout.changes.newest(9) if one.after == 100]
    assert len(promotions) == 1


async def test_the_same_outcomes_give_the_same_verdict_however_often_they_are_read(
    rollout: Rollout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarding, "_PAGE", 3)
    told = PLAN.told() | {"steps": [{"share": 50, "seconds": 9999, "users": 5}]}
    await rollout.start("ann", Plan.parse(told), None, after=0)
    for _ in range(4):
        await rollout.happens(2, bad={"spoiled": True})  # too few to step back, in either arm
        await rollout.look()
    at_once = rollout.another_guard()
    await rollout.look(at_once)
    assert at_once.evidence == rollout.guard.evidence
    assert at_once._observation is not None
    assert sum(at_once._observation.jobs.values()) == 8


async def test_what_was_seen_is_kept_and_shown_with_both_arms(rollout: Rollout) -> None:
    await rollout.start("ann", PLAN, None, after=0)
    await rollout.happens(50)
    await rollout.look()
    view = await ShowRollout(rollout.flag, rollout.control, rollout.changes, rollout.outcomes)()
    assert view.arms is not None
    assert view.arms["A1"].jobs + view.arms["A2"].jobs == 50
    (look,) = view.looks
    assert '"evidence":{"failed":1.0' in look


async def test_a_plan_is_started_held_and_stopped_in_that_order_only(rollout: Rollout) -> None:
    for to in ("held", "running", "stopped"):
        with pytest.raises(Conflict):
            await rollout.steer("ann", to, None, after=None)
    await rollout.start("ann", PLAN, None, after=0)
    with pytest.raises(Conflict):
        await rollout.start("ann", PLAN, None, after=None)
    with pytest.raises(Conflict):
        await rollout.steer("ann", "running", None, after=None)
    with pytest.raises(Outdated):
        await rollout.steer("ann", "held", None, after=7)
    await rollout.steer("ann", "stopped", None, after=None)
    with pytest.raises(Conflict):
        await rollout.steer("ann", "running", None, after=None)
    before = await rollout.newest()
    await rollout.start("ann", PLAN, None, after=None)
    assert (await rollout.newest()).rollout != before.rollout


async def test_late_is_what_is_later_than_most_of_a1s_answers_were_before(
    rollout: Rollout,
) -> None:
    open_limits = {"ratio": "any"}
    plan = Plan.parse({"steps": [{"share": 5}], "limits": open_limits})
    await rollout.start("ann", plan, None, after=0)
    assert (started := (await rollout.newest()).plan) is not None
    assert started.late is None, "too few answers to know"
    await rollout.steer("ann", "stopped", None, after=None)
    await rollout.set_share("ann", 0, None, after=None)
    await rollout.happens(120)
    await rollout.start("ann", plan, None, after=None)
    assert (started := (await rollout.newest()).plan) is not None
    assert started.late is not None


async def test_true_and_false_in_the_environment_let_nobody_start_a_plan() -> None:
    database = SqliteDatabase(":memory:")
    await database.open()
    rollout = Rollout(database, Share.parse("true"))
    with pytest.raises(Conflict, match="ENABLE_TOKEN_STREAMING"):
        await rollout.start("ann", PLAN, None, after=0)
    await database.aclose()
