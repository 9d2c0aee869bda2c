"""A verdict with its inputs, as it is stored and shown."""

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from math import inf

from sluice.application.guard import told_of
from sluice.domain.guard.observed import Observation
from sluice.domain.guard.plan import Plan
from sluice.domain.guard.rules import Verdict
from tests.unit.rollouts import Outcomes

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
