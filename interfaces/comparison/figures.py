"""The arithmetic of a comparison: medians, and intervals that assume no distribution."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb
from statistics import median

from sluice.interfaces.comparison.answers import Answer

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median of `count` values in seconds, `low` to `high` its interval, if it has one."""

    count: int
    middle: float
    low: float | None
    high: float | None


def estimate(values: Sequence[float]) -> Estimate | None:
    """None without a value. The interval is that of order statistics: six values have one.

    The chance that the true median lies outside the k smallest and k largest of n values is twice
    that of at most k - 1 heads in n throws, whatever the distribution is.
    """
    if not values:
        return None
    ordered = sorted(values)
    rank = _rank(len(ordered))
    low, high = (ordered[rank - 1], ordered[-rank]) if rank else (None, None)
    return Estimate(len(ordered), median(ordered), low, high)


def _rank(count: int) -> int:
    """The largest k whose interval still holds the median with the confidence; 0 for none."""
    rank, outside = 0, 0.0
    while rank < count // 2:
        outside += 2 * comb(count, rank) / 2**count
        if outside > 1 - CONFIDENCE:
            break
        rank += 1
    return rank


@dataclass(frozen=True, slots=True)
class Row:
    """What is compared: A1's and A2's estimate, and that of A1's value less A2's in each pair."""

    name: str
    a1: Estimate | None
    a2: Estimate | None
    gain: Estimate | None


Time = Callable[[Answer], float | None]


def first_stage(answer: Answer) -> float | None:
    return answer.first_stage


def first_character(answer: Answer) -> float | None:
    return answer.first_character


def whole(answer: Answer) -> float | None:
    return answer.whole


COMPARED: tuple[tuple[str, Time, Time], ...] = (
    ("A2's first character beside A1's whole answer", whole, first_character),
    ("A2's first character beside A1's first stage", first_stage, first_character),
    ("whole answer", whole, whole),
    ("first stage", first_stage, first_stage),
)
"""A1 shows no character before all of them: beside what its users see, the comparison is honest."""


def compared(answers: Sequence[Answer]) -> list[Row]:
    return [_row(name, answers, a1, a2) for name, a1, a2 in COMPARED]


def _row(name: str, answers: Sequence[Answer], a1: Time, a2: Time) -> Row:
    return Row(
        name,
        estimate(times(answers, "A1", a1)),
        estimate(times(answers, "A2", a2)),
        estimate(
            [
                s - t
                for one, two in pairs(answers)
                if (s := a1(one)) is not None and (t := a2(two)) is not None
            ]
        ),
    )


def times(answers: Sequence[Answer], path: str, time: Time) -> list[float]:
    return [t for a in answers if a.path == path and not a.trouble and (t := time(a)) is not None]


def pairs(answers: Sequence[Answer]) -> list[tuple[Answer, Answer]]:
    """A1's and A2's answer to one question in one round, where both came whole."""
    found = []
    for one, two in zip(answers[::2], answers[1::2], strict=False):
        if not one.trouble and not two.trouble:
            found.append((one, two) if one.path == "A1" else (two, one))
    return found


def alike(answers: Sequence[Answer]) -> int:
    """How many pairs have the same text."""
    return sum(one.digest == two.digest for one, two in pairs(answers))
