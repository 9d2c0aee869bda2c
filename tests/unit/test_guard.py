"""The guard's figures are those of exact fractions, and its rules say what rollout plans say."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import product
from math import factorial
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.domain.guard.evidence import better, chance, drawn_otherwise, upper_end, worse
from sluice.domain.guard.rules import Limits, Recent, Step, judge
from sluice.domain.guard.tally import METRICS, Metric, Outcome, Tally

MARGIN = Decimal("0.1")
SHARES = [0.5, 1, 5, 25, 33.3, 50, 99]
EVENTS = st.lists(st.tuples(st.sampled_from(SHARES), st.booleans()), max_size=60)
GRID = [Fraction(5, 4), Fraction(3, 2), Fraction(2), Fraction(4), Fraction(10)]
Events = Sequence[tuple[float, bool]]


def counts(events: Events) -> Counter[tuple[Decimal, bool]]:
    return Counter((chance(share), hit) for share, hit in events)


def odds(share: float, ratio: Fraction, *, hit: bool) -> Fraction:
    """The chance of an arm, event by event, and written otherwise than in the guard."""
    p = Fraction(str(share)) / 100
    in_a2 = 1 / (1 + (1 - p) / (p * ratio))
    return in_a2 if hit else 1 - in_a2


def exact_worse(events: Events, margin: Fraction) -> Fraction:
    total = Fraction(0)
    for ratio in GRID:
        wealth = Fraction(1)
        for share, hit in events:
            wealth *= odds(share, ratio, hit=hit) / odds(share, 1 + margin, hit=hit)
        total += wealth
    return total / len(GRID)


def exact_better(events: Events, ratio: Fraction) -> Fraction:
    total = Fraction(0)
    for step in GRID:
        wealth = Fraction(1)
        for share, hit in events:
            wealth *= odds(share, ratio / step, hit=hit) / odds(share, ratio, hit=hit)
        total += wealth
    return total / len(GRID)


@given(EVENTS)
def test_evidence_is_that_of_exact_fractions_to_the_last_digit(events: Events) -> None:
    assert float(worse(counts(events), MARGIN)) == float(exact_worse(events, Fraction(1, 10)))


@given(EVENTS, st.sampled_from(["0.01", "0.5", "1", "3", "1000"]))
def test_the_reversed_test_is_that_of_exact_fractions_to_the_last_digit(
    events: Events, ratio: str
) -> None:
    exact = exact_better(events, Fraction(ratio))
    assert float(better(counts(events), Decimal(ratio))) == float(exact)


@pytest.mark.parametrize("share", [1, 25, 50])
def test_evidence_is_a_fair_game_at_the_margin_in_exact_fractions(share: float) -> None:
    """Its mean over all outcomes of six first bad events is 1, where A2 is worse by the margin."""
    margin = Fraction(1, 10)
    mean, largest = Fraction(0), 0.0
    for hits in product([True, False], repeat=6):
        events = [(share, hit) for hit in hits]
        likely = Fraction(1)
        for _, hit in events:
            likely *= odds(share, 1 + margin, hit=hit)
        mean += likely * exact_worse(events, margin)
        largest = max(largest, float(worse(counts(events), MARGIN)))
    assert mean == 1
    assert largest == float(worse(counts([(share, True)] * 6), MARGIN))


@pytest.mark.parametrize("share", [1, 25, 50])
def test_evidence_only_falls_where_a2_is_as_good_or_better(share: float) -> None:
    for ratio in (Fraction(1, 2), Fraction(1)):
        mean = sum(
            odds(share, ratio, hit=hit) * exact_worse([(share, hit)], Fraction(1, 10))
            for hit in (True, False)
        )
        assert mean < 1


@pytest.mark.parametrize("share", [1, 5, 25, 50])
@pytest.mark.parametrize("ratio", [Fraction(1), Fraction(11, 10)])
def test_looking_after_every_event_steps_back_without_a_cause_at_most_so_often(
    share: float, ratio: Fraction
) -> None:
    """The exact chance that sixty first bad events ever pass 40, where A2 is not worse: <= 1/40."""
    running = {(0, 0): Fraction(1)}
    passed = Fraction(0)
    for _ in range(60):
        following: dict[tuple[int, int], Fraction] = {}
        for (hits, misses), likely in running.items():
            for hit in (True, False):
                after = (hits + hit, misses + (not hit))
                following.setdefault(after, Fraction(0))
                following[after] += likely * odds(share, ratio, hit=hit)
        running = {}
        for (hits, misses), likely in following.items():
            tallied = Counter({(chance(share), True): hits, (chance(share), False): misses})
            if worse(tallied, MARGIN) >= 40:
                passed += likely
            else:
                running[hits, misses] = likely
    assert passed + sum(running.values()) == 1
    assert 0 < passed <= Fraction(1, 40)


@given(EVENTS, st.randoms())
def test_evidence_does_not_depend_on_the_order(events: list[Any], random: Random) -> None:
    shuffled = list(events)
    random.shuffle(shuffled)
    assert worse(counts(events), MARGIN) == worse(counts(shuffled), MARGIN)


@given(EVENTS)
def test_a_bad_event_of_a2_adds_evidence_and_one_of_a1_takes_some(events: Events) -> None:
    now = worse(counts(events), MARGIN)
    assert worse(counts([*events, (25, True)]), MARGIN) > now
    assert worse(counts([*events, (25, False)]), MARGIN) < now


@given(EVENTS)
def test_a_share_of_none_or_all_is_no_draw_and_tells_nothing(events: Events) -> None:
    more = [*events, (0, False), (100, True)]
    assert worse(counts(more), MARGIN) == worse(counts(events), MARGIN)


def test_evidence_of_many_events_neither_overflows_nor_vanishes() -> None:
    many = Counter({(chance(1), True): 100_000, (chance(1), False): 1})
    assert worse(many, MARGIN) > Decimal("1e1000")
    assert 0 < worse(Counter({(chance(50), False): 1_000_000}), MARGIN) < Decimal("1e-1000")


@pytest.mark.parametrize("margin", ["-0.01", "0.25", "1", "NaN"])
def test_a_margin_that_reaches_into_the_grid_is_refused(margin: str) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        worse(Counter(), Decimal(margin))


@given(EVENTS)
def test_the_upper_end_is_where_exact_fractions_reject(events: Events) -> None:
    end = upper_end(counts(events), Decimal("0.025"))
    if end is None:
        assert exact_better(events, Fraction(10) ** 6) < 40
    else:
        assert exact_better(events, Fraction(end) * Fraction("1.00001")) >= 40
        assert exact_better(events, Fraction(end) / Fraction("1.00001")) < 40


@given(EVENTS, st.floats(0.01, 1000), st.floats(0.01, 1000))
def test_the_reversed_test_never_falls_while_the_ratio_grows(
    events: Events, one: float, other: float
) -> None:
    small, large = sorted((Decimal(one), Decimal(other)))
    less, more = (float(better(counts(events), ratio)) for ratio in (small, large))
    assert less <= more * (1 + 1e-14)


@given(st.lists(st.booleans(), max_size=60), st.sampled_from(SHARES))
def test_the_sample_ratios_evidence_is_the_exact_beta_mixture(
    arms: list[bool], share: float
) -> None:
    evidence, drawn = Decimal(1), Counter[bool]()
    for hit in arms:
        evidence = drawn_otherwise(evidence, chance(share), drawn[True], drawn[False], hit=hit)
        drawn[hit] += 1
    p, hits, misses = Fraction(str(share)) / 100, drawn[True], drawn[False]
    exact = Fraction(factorial(hits) * factorial(misses), factorial(hits + misses + 1))
    exact /= p**hits * (1 - p) ** misses
    assert float(evidence) == float(exact)


@pytest.mark.parametrize(("share", "impossible"), [(0, True), (100, False)])
def test_an_arm_that_could_not_be_is_proof_of_a_broken_split(
    share: float, impossible: bool
) -> None:
    assert drawn_otherwise(Decimal(3), chance(share), 5, 5, hit=not impossible) == 3
    assert drawn_otherwise(Decimal(3), chance(share), 5, 5, hit=impossible) == Decimal("Infinity")


def outcome(number: int, arm: Any, *bad: Metric, **fields: Any) -> Outcome:
    return Outcome(f"user-{number}", arm, fields.pop("share", 50), frozenset(bad), **fields)


def tally(*outcomes: Outcome) -> Tally:
    made = Tally(slow_limit=Decimal("0.05"))
    for one in outcomes:
        if made.add(one):
            made.draw(one)
    return made


def test_a_user_counts_once_for_each_metric_and_once_for_the_split() -> None:
    """With the share in force at the first bad event, not at the first job."""
    made = tally(
        outcome(1, "A2", share=5),
        *[outcome(1, "A2", "failed", "late", share=25)] * 300,
        outcome(1, "A2", "left", share=50),
        outcome(2, "A1", "failed", share=50),
    )
    assert made.bad["failed"] == {(chance(25), True): 1, (chance(50), False): 1}
    assert made.bad["late"] == {(chance(25), True): 1}
    assert made.bad["left"] == {(chance(50), True): 1}
    assert made.users == {"A2": 1, "A1": 1}


def test_the_slow_start_is_of_a2s_users_first_read_jobs_only() -> None:
    made = tally(
        outcome(1, "A2", slow=None),
        outcome(1, "A2", slow=True),
        outcome(1, "A2", slow=True),
        outcome(2, "A2", slow=False),
        outcome(3, "A1", slow=True),
    )
    assert made.slow == {(Decimal("0.05"), True): 1, (Decimal("0.05"), False): 1}


STEPS = [1, 5, 25, 50, 100]
FINE = Step(50, 7200, {"A1": 500, "A2": 500})
WELL = {"A1": Recent(100, 1), "A2": Recent(100, 1)}


def judged(made: Tally, step: Step = FINE, recent: Any = WELL, **limits: Any) -> Any:
    return judge(made, step, STEPS, Limits(**limits), recent)


def alternating(users: int, *bad: Metric, of: str = "both") -> list[Outcome]:
    """As many users in either arm; `bad` happens to every one of `of`."""
    arms = ["A1", "A2"]
    return [
        outcome(n, arms[n % 2], *(bad if of in ("both", arms[n % 2]) else ())) for n in range(users)
    ]


def test_a2_worse_steps_back_to_the_step_before_and_says_why() -> None:
    verdict = judged(tally(*alternating(60, "failed", of="A2")))
    assert (verdict.action, verdict.share, verdict.rule) == ("step_back", 25, "failed")
    assert verdict.evidence["failed"] >= 40
    assert verdict.sentence.startswith("A2 is worse in failed: evidence ")


def test_the_first_step_steps_back_to_nobody() -> None:
    step = Step(1, 7200, {"A1": 500, "A2": 500})
    assert judged(tally(*alternating(60, "late", of="A2")), step).share == 0


def test_the_evidence_that_steps_back_is_the_one_of_exact_fractions() -> None:
    """One first bad event after the other: it is the same one that decides."""
    needed = next(n for n in range(60) if exact_worse([(50, True)] * n, Fraction(1, 10)) >= 40)
    for bad, action in ((needed - 1, "hold"), (needed, "step_back")):
        well = [outcome(1000 + n, "A1" if n < needed else "A2") for n in range(2 * needed)]
        made = tally(*well, *(outcome(n, "A2", "failed") for n in range(bad)))
        assert judged(made, split_alpha=Decimal("1e-30")).action == action


def test_a_slow_start_steps_back_although_no_arm_is_compared() -> None:
    users = [outcome(n, ("A1", "A2")[n % 2], slow=n % 4 == 1) for n in range(200)]
    assert judged(tally(*users)).rule == "slow"


def test_a_broken_split_holds_and_a2_is_not_blamed() -> None:
    verdict = judged(tally(*(outcome(n, "A2", "failed") for n in range(100))))
    assert (verdict.action, verdict.share, verdict.rule) == ("hold", 50, "split")


def test_an_upstream_that_hurts_both_arms_holds() -> None:
    made = tally(*alternating(100, "failed"))
    ill = {"A1": Recent(100, 30), "A2": Recent(100, 45)}
    assert judged(made, recent=ill).rule == "upstream"
    one = {"A1": Recent(100, 0), "A2": Recent(100, 45)}
    assert judged(made, recent=one).rule != "upstream"


def test_nobody_steps_back_before_a_job_of_a1_is_over() -> None:
    """Of an upstream that is ill for both, the quicker arm is heard of first."""
    failed = [outcome(n, "A2", "failed") for n in range(12)]
    early = judged(tally(*failed), Step(50, 5, {"A1": 0, "A2": 12}))
    assert early.evidence["failed"] >= 40
    assert (early.action, early.share, early.rule) == ("hold", 50, "promotion")
    assert early.sentence == "A2 looks worse in failed: no job of A1 is over yet."
    told = judged(tally(*failed, outcome(12, "A1")), Step(50, 5, {"A1": 1, "A2": 12}))
    assert (told.action, told.rule) == ("step_back", "failed")
    slow = [outcome(n, "A2", slow=True) for n in range(12)]
    assert judged(tally(*slow), Step(50, 5, {"A1": 0, "A2": 12})).rule == "slow"


def test_a_good_step_is_promoted_and_the_last_one_holds() -> None:
    made = tally(*alternating(1000, *METRICS))
    promoted = judged(made)
    assert (promoted.action, promoted.share) == ("promote", 100)
    last = judged(made, Step(100, 7200, {"A1": 500, "A2": 500}))
    assert (last.action, last.rule) == ("hold", "last")


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (Step(50, 3599, {"A1": 500, "A2": 500}), "seconds old"),
        (Step(50, 7200, {"A1": 99, "A2": 500}), "A1 has 99 of 100"),
        (Step(50, 7200, {"A1": 500}), "A2 has 0 of 100"),
    ],
)
def test_too_little_time_or_too_few_users_hold(step: Step, why: str) -> None:
    verdict = judged(tally(*alternating(1000, *METRICS)), step)
    assert verdict.action == "hold"
    assert why in verdict.sentence


def test_too_few_bad_events_hold_and_never_promote() -> None:
    """That nothing bad happened is no proof that A2 is not twice as bad."""
    verdict = judged(tally(*alternating(1000)))
    assert (verdict.action, verdict.upper["failed"]) == ("hold", None)
    assert "may still be worse in failed: the ratio is unbounded" in verdict.sentence


@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from([*METRICS, None])), max_size=80))
def test_replaying_the_outcomes_gives_the_same_verdicts(jobs: list[Any]) -> None:
    outcomes = [
        outcome(number, "A2" if number % 3 else "A1", *([bad] if bad else []))
        for number, bad in jobs
    ]
    assert judged(tally(*outcomes)) == judged(tally(*outcomes))


@pytest.mark.parametrize("weights", [{"failed": "0.9", "late": "0.2"}, {"failed": "-0.1"}])
def test_weights_that_spend_more_than_there_is_are_refused(weights: Any) -> None:
    with pytest.raises(ValueError, match="weights"):
        Limits(weights={name: Decimal(weight) for name, weight in weights.items()})


def test_what_has_no_weight_decides_nothing() -> None:
    made = tally(*alternating(60, "failed", of="A2"))
    assert judged(made, weights={"late": Decimal(1)}).action == "hold"
