"""What a load costs a process, as a model with five terms.

A *copy* is one token sent to one reader. A *wake-up* is a token that finds the process asleep;
a busy process takes what has come in the meantime at its next turn, so there are as many as the
share of time it sleeps. A *second* costs what a process does with no load. For each the model is

    CPU = a * jobs + b * tokens + c * copies + d * wake-ups + e * seconds

fitted by least squares to relative errors, no term below zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

TERMS = ("jobs", "tokens", "copies", "wakes", "seconds")


@dataclass(frozen=True, slots=True)
class Seen:
    """What one load cost one process. A moment or a whole job, or a share of either."""

    says: str
    jobs: float
    tokens: float
    copies: float
    seconds: float
    cpu_us: float
    waited: float = 0
    """Share of the time in which others had its CPU."""

    @property
    def work(self) -> tuple[float, ...]:
        busy = self.cpu_us / 1e6 / self.seconds
        asleep = max(0.0, 1 - busy - self.waited)
        return self.jobs, self.tokens, self.copies, self.tokens * asleep, self.seconds


@dataclass(frozen=True, slots=True)
class Model:
    """CPU microseconds by term. One that is missing costs nothing, or goes with an earlier one:

    where every token had one reader, `tokens` includes the copy.
    """

    cost: Mapping[str, float]

    def cpu_us(self, *work: float) -> float:
        return sum(self.cost.get(term, 0) * done for term, done in zip(TERMS, work, strict=True))

    def error(self, seen: Seen) -> float:
        """Relative: 0.1 is a tenth too much."""
        return self.cpu_us(*seen.work) / seen.cpu_us - 1


def fit(loads: Sequence[Seen]) -> Model:
    """The best of all choices of terms: they are few enough to try each."""
    best, least = Model({}), float("inf")
    for count in range(len(TERMS), 0, -1):
        for terms in combinations(TERMS, count):
            model = _solved(loads, terms)
            if model is None or min(model.cost.values()) < 0:
                continue
            left = sum(model.error(load) ** 2 for load in loads)
            if left < least - 1e-9:
                best, least = model, left
    return best


def _solved(loads: Sequence[Seen], terms: Sequence[str]) -> Model | None:
    """Least squares by the normal equations; None if the loads do not tell the terms apart."""
    places = [TERMS.index(term) for term in terms]
    rows = [[load.work[place] / load.cpu_us for place in places] for load in loads]
    columns = list(zip(*rows, strict=True))
    table = [[*(_dot(one, other) for other in columns), sum(one)] for one in columns]
    sizes = [row[place] for place, row in enumerate(table)]
    for place, row in enumerate(table):
        if row[place] <= 1e-6 * sizes[place]:
            return None
        for other in table:
            if other is not row:
                factor = other[place] / row[place]
                other[:] = [x - factor * y for x, y in zip(other, row, strict=True)]
    solved = (row[-1] / row[place] for place, row in enumerate(table))
    return Model(dict(zip(terms, solved, strict=True)))


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(one, other, strict=True))
