"""Both arms' figures, to be looked at: nothing is decided on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import sqrt

from sluice.domain.chat import ExecutionPath
from sluice.domain.guard.observed import bad_events
from sluice.domain.guard.tally import METRICS, Metric
from sluice.domain.outcome import StoredOutcome

_Z = 1.959964
"""For intervals of 95 %."""


@dataclass(frozen=True, slots=True)
class Part:
    """So many `of` the jobs; the interval (Wilson, 95 %) is None without a job."""

    count: int
    of: int
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Quantile:
    """In seconds, with an interval of 95 % at least; it is open where there are too few jobs."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """`first_character` and `answer` are the medians from admission, None without any."""

    jobs: int
    users: int
    bad: dict[Metric, Part]
    first_character: Quantile | None
    answer: Quantile | None


def figures(rows: Sequence[StoredOutcome], late: float | None) -> dict[ExecutionPath, ArmFigures]:
    """Of the jobs that are in figures. A user's jobs are not independent: see the intervals so."""
    arms: tuple[ExecutionPath, ...] = ("A1", "A2")
    counted = [row for row in rows if row.outcome.left_out is None]
    return {arm: _arm([row for row in counted if row.outcome.arm == arm], late) for arm in arms}


def part(count: int, of: int) -> Part:
    if not of:
        return Part(count, of, None)
    rate, spread = count / of, _Z * _Z / of
    middle = (rate + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * sqrt(rate * (1 - rate) / of + spread / (4 * of))
    return Part(count, of, (max(0.0, middle - half), min(1.0, middle + half)))


def median(seconds: Sequence[float]) -> Quantile | None:
    """With the order statistics that hold it with a chance of 95 %."""
    ordered, count = sorted(seconds), len(seconds)
    if not ordered:
        return None
    half = _Z * sqrt(count) / 2
    low, high = int(count / 2 - half) - 1, int(count / 2 + half) + 1
    return Quantile(
        ordered[count // 2],
        ordered[low] if low >= 0 else None,
        ordered[high] if high < count else None,
    )


def _arm(rows: Sequence[StoredOutcome], late: float | None) -> ArmFigures:
    bad = [bad_events(row, late) for row in rows]
    firsts = [_since(row, row.delivered.first_at) for row in rows if row.delivered is not None]
    answers = [_since(row, row.outcome.answered_at) for row in rows]
    return ArmFigures(
        jobs=len(rows),
        users=len({row.user for row in rows}),
        bad={
            metric: part(sum(metric in one for one in bad), len(rows))
            for metric in METRICS
            if metric != "late" or late is not None
        },
        first_character=median([one for one in firsts if one is not None]),
        answer=median([one for one in answers if one is not None]),
    )


def _since(row: StoredOutcome, at: datetime | None) -> float | None:
    return None if at is None else (at - row.outcome.admitted_at).total_seconds()
