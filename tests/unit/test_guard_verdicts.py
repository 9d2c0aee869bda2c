"""A verdict with its inputs, as it is stored and shown."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from math import inf

from sluice.application.guard import told_of
from sluice.domain.guard.observed import Observation
from sluice.domain.guard.plan import Plan
from sluice.domain.guard.rules import Verdict
from tests.unit.rollouts import AT, Outcomes

PLAN = Plan.parse({"steps": [{"share": 50}], "limits": {"weights": {"failed": 0.5, "slow": 0.5}}})
VERDICT = Verdict(
    "hold", 50, "split", "Why.", {"failed": 2.5, "late": inf, "slow": 1.0}, {"failed": 3.5}
)


def test_it_has_what_was_decided_and_what_it_was_decided_by() -> None:
    outcomes, seen = Outcomes(), Observation(PLAN)
    for share, arm, user in ((50, "A2", "a"), (50, "A2", "b"), (25, "A2", "c"), (50, "A1", "d")):
        outcomes.write(arm=arm, user=user, share=share, status="failed")
    outcomes.write(arm="A2", user="a", spoiled=True)
    for row in outcomes.rows:
        seen.add(row)
    told = told_of(VERDICT, seen, PLAN)
    none = {"A1": 0, "A2": 0}
    assert told == {
        "action": "hold",
        "rule": "split",
        "sentence": "Why.",
        "share": 50,
        "jobs": {"A2": 4, "A1": 1},
        "users": {"A2": 3, "A1": 1},
        "first_bad_events": {
            "failed": {"A1": 1, "A2": 3},
            "late": none,
            "left": none,
            "spoiled": {"A1": 0, "A2": 1},
        },
        "evidence": {"failed": 2.5, "late": 1e308, "slow": 1.0},
        "needed": {"failed": 40.0, "late": None, "slow": 40.0},
        "ratio_at_most": {"failed": 3.5},
        "split": float(seen.tally.split),
    }
    assert type(told["jobs"]) is type(told["users"]) is dict
    assert type(told["needed"]["failed"]) is float


def test_evidence_without_a_bound_is_told_as_a_number_that_json_has() -> None:
    seen = Observation(PLAN)
    seen.tally.split = Decimal("Infinity")
    told = told_of(replace(VERDICT, evidence={}, upper={}), seen, PLAN)
    assert (told["split"], told["evidence"], told["ratio_at_most"]) == (1e308, {}, {})
    assert seen.jobs == Counter()


def ends(outcomes: Outcomes, arm: str, begin: float, took: float) -> None:
    """Seconds from the start of the rollout."""
    at = AT + timedelta(seconds=begin)
    over = at + timedelta(seconds=took)
    outcomes.write(arm=arm, share=20, admitted_at=at, answered_at=over, ended_at=over)


def test_an_arm_that_is_over_sooner_is_no_broken_split() -> None:
    outcomes, seen = Outcomes(), Observation(PLAN)
    for number in range(300):
        is_a2 = number % 5 == 0
        ends(outcomes, "A2" if is_a2 else "A1", number / 10, 0.1 if is_a2 else 3 + number % 3)
    for row in sorted(outcomes.rows, key=lambda row: row.outcome.ended_at):
        seen.add(row)
        assert seen.tally.split < 2
    assert seen.tally.split < Decimal("0.2")  # it has seen many


def test_where_only_one_arm_is_over_the_split_is_judged_after_five_minutes() -> None:
    outcomes, seen = Outcomes(), Observation(PLAN)
    for number in range(40):
        ends(outcomes, "A2", number, 1)
    for row in outcomes.rows:
        seen.add(row)
    assert seen.tally.split == 1
    ends(outcomes, "A2", 400, 1)
    seen.add(outcomes.rows[-1])
    assert seen.tally.split > 1000
