"""Rollouts replayed from recorded outcomes, many at once: arms are drawn anew, by user.

The evidence is the guard's, in floats; `agrees` holds a sample of it against the guard's own.
"""

import csv
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluice.domain.guard.evidence import GRID, chance, worse
from sluice.domain.guard.tally import Metric, Outcome, Tally

RECORDED = Path(__file__).parent / "guard_data" / "outcomes.csv"
WATCHED: tuple[Metric, ...] = ("failed", "late", "left")
"""Nothing was spoiled in the record: that metric's evidence stays 1."""
MARGIN = 0.1
KEPT, BROKEN = 0.2, 0.05
"""Parts of A2's users who may be slow: the service kept the one throughout, and was above the
other for a while, on both arms alike."""
NEEDED = {"failed": 1 / 0.025, "late": 1 / 0.00625, "left": 1 / 0.00625, "slow": 1 / 0.00625}
"""1 / alpha of each, of 0.05 in all."""
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Record:
    """One row a job, in the order of their ends."""

    user: NDArray[np.int64]
    bad: dict[str, Bools]

    @classmethod
    def read(cls) -> "Record":
        with RECORDED.open() as file:
            rows = list(csv.DictReader(file))
        names = ("failed", "late", "left", "slow")
        bad = {name: np.array([row[name] == "1" for row in rows]) for name in names}
        return cls(np.array([int(row["user"]) for row in rows]), bad)

    @property
    def jobs(self) -> int:
        return len(self.user)

    @property
    def users(self) -> int:
        return int(self.user.max()) + 1

    def firsts(self, name: str) -> NDArray[np.int64]:
        """The jobs that are their users' first bad event of that metric."""
        found = np.flatnonzero(self.bad[name])
        _, places = np.unique(self.user[found], return_index=True)
        return np.sort(found[places])


def ramp(jobs: int, *shares: float) -> Floats:
    """The share in force at each job, as a fraction: the steps are equally long."""
    return np.array(shares)[np.arange(jobs) * len(shares) // jobs] / 100


def evidence(p: Floats, hit: Bools) -> Floats:
    """After each event, of many rollouts (rows): the mean over the grid of likelihood ratios."""
    total = np.zeros(hit.shape)
    usable = (p > 0) & (p < 1)
    for ratio in map(float, GRID):  # far beyond what is needed all are alike
        one, other = _hit(p, ratio), _hit(p, 1 + MARGIN)
        with np.errstate(divide="ignore", invalid="ignore"):
            if_hit = np.where(usable, np.log(one / other), 0)
            if_not = np.where(usable, np.log((1 - one) / (1 - other)), 0)
        total += np.exp(np.minimum(np.cumsum(np.where(hit, if_hit, if_not), axis=-1), 600))
    return total / len(GRID)


def _hit(p: Floats, ratio: float) -> Floats:
    return p * ratio / (p * ratio + 1 - p)


def highest(record: Record, p: Floats, drawn: Floats) -> dict[str, Floats]:
    """The most evidence that each of many A/A rollouts ever had; `drawn` is by rollout and user."""
    found = dict[str, Floats]()
    for name in WATCHED:
        first = record.firsts(name)
        hit = drawn[:, record.user[first]] < p[first]
        found[name] = evidence(p[first], hit).max(axis=1, initial=1)
    found["slow"] = _slow(record, p, drawn, KEPT)
    found["slow beyond its limit"] = _slow(record, p, drawn, BROKEN)
    return found


def _slow(record: Record, p: Floats, drawn: Floats, part: float) -> Floats:
    """Of each user the first job on A2 counts, whenever the share has let the user in."""
    jobs_of = [np.flatnonzero(record.user == user) for user in range(record.users)]
    shares = [np.maximum.accumulate(p[jobs]) for jobs in jobs_of]
    first = np.full(drawn.shape, record.jobs)
    for user, (jobs, there) in enumerate(zip(jobs_of, shares, strict=True)):
        place = np.searchsorted(there, drawn[:, user], side="right")
        inside = place < len(jobs)
        first[inside, user] = jobs[place[inside]]
    ordered = np.sort(first, axis=1)
    known = ordered < record.jobs
    slow = record.bad["slow"][np.where(known, ordered, 0)]
    chances = np.where(known, part, 0.0)  # a chance of 0 tells nothing
    most: Floats = evidence(chances, slow).max(axis=1)
    return most


def stepped_back(found: dict[str, Floats]) -> Bools:
    reached: Bools = np.any([found[name] >= NEEDED[name] for name in (*WATCHED, "slow")], axis=0)
    return reached


def naive(record: Record, p: Floats, drawn: Floats, every: int = 50) -> Bools:
    """Whether a test of two proportions of failed jobs, at 5 %, says so at any look."""
    arm = drawn[:, record.user] < p
    failed, look = record.bad["failed"], slice(every - 1, None, every)
    n2, x2 = (np.cumsum(one, axis=1)[:, look] for one in (arm, arm & failed))
    n1, x1 = (np.cumsum(one, axis=1)[:, look] for one in (~arm, ~arm & failed))
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (x1 + x2) / (n1 + n2)
        z = (x2 / n2 - x1 / n1) / np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    says: Bools = np.any(np.nan_to_num(z) > 1.6449, axis=1)
    return says


def agrees(record: Record, p: Floats, drawn: Floats) -> float:
    """The largest relative difference to the guard's own evidence, at the end of each rollout."""
    worst = 0.0
    for users in drawn:
        tally = Tally(Decimal(str(KEPT)))
        for job in range(record.jobs):
            user, share = int(record.user[job]), float(round(p[job] * 100, 6))
            bad = frozenset(name for name in WATCHED if record.bad[name][job])
            arm: Any = "A2" if users[user] < p[job] else "A1"
            tally.add(Outcome(str(user), arm, share, bad))
        for name in WATCHED:
            first = record.firsts(name)
            hit = users[record.user[first]] < p[first]
            ours = evidence(p[first], hit)[-1]
            theirs = float(worse(tally.bad[name], Decimal(str(MARGIN))))
            worst = max(worst, abs(ours - theirs) / theirs)
    return worst


def delays(share: float, ratio: float, rate: float, rollouts: int, seed: int) -> Floats:
    """Jobs until the evidence for `failed` is enough, where A2 fails `ratio` times as often.

    Many users, so that each bad event is its user's first; `rate` is how often A1's jobs fail.
    Infinite where twenty thousand bad events are not enough.
    """
    p, generator = share / 100, np.random.default_rng(seed)
    in_a2 = p * ratio / (p * ratio + 1 - p)
    every = 1 / (rate * (p * ratio + 1 - p))
    found = np.full(rollouts, np.inf)
    for start in range(0, rollouts, 50):
        rows = min(50, rollouts - start)
        hit = generator.random((rows, 20_000)) < in_a2
        enough = evidence(np.full(hit.shape[1], p), hit) >= NEEDED["failed"]
        reached, event = enough.any(axis=1), enough.argmax(axis=1) + 1
        jobs = generator.negative_binomial(event, min(1, 1 / every)) + event
        found[start : start + rows][reached] = jobs[reached]
    return found


def exact_difference() -> float:
    """To fractions, over every outcome of eight first bad events at three shares."""
    from fractions import Fraction
    from itertools import product

    worst = 0.0
    for share in (1, 25, 50):
        p = Fraction(share, 100)
        for hits in product([True, False], repeat=8):
            total = Fraction(0)
            for ratio in map(Fraction, map(str, GRID)):
                wealth = Fraction(1)
                for hit in hits:
                    one, other = (p * r / (p * r + 1 - p) for r in (ratio, Fraction(11, 10)))
                    wealth *= one / other if hit else (1 - one) / (1 - other)
                total += wealth
            counts = Counter((chance(share), hit) for hit in hits)
            ours = float(worse(counts, Decimal(str(MARGIN))))
            worst = max(worst, abs(ours - float(total / len(GRID))))
    return worst
