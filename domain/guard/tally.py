"""What the guard remembers of a rollout's outcomes: each user's first time of everything."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from sluice.domain.chat import ExecutionPath
from sluice.domain.guard.evidence import Counts, chance, drawn_otherwise

Metric = Literal["failed", "late", "left", "spoiled"]
"""A bad event of a job that means the same in both arms. `failed`: it ended in `error`. `late`: its
whole answer came too late. `left`: its reader left before seeing anything. `spoiled`: what had been
shown was taken back, or the answer is not what was said."""
METRICS: tuple[Metric, ...] = ("failed", "late", "left", "spoiled")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One job, when it is over. `user` is any stable key of the user, `share` in percent.

    `arm` is the path that was decided, also where another one ran. `slow`: whether the first
    character came too late; None where nobody read or a human was waited for. Jobs that chose their
    path are none.
    """

    user: str
    arm: ExecutionPath
    share: float
    bad: frozenset[Metric] = frozenset()
    slow: bool | None = None


@dataclass(slots=True, eq=False)
class Tally:
    """Sums over one rollout; `slow_limit` is the part of A2's first jobs that may be slow.

    A user counts once for each metric, with the first bad event, and once for the split and for
    the slow start, with the first job. So a user with hundreds of jobs weighs as one.
    """

    slow_limit: Decimal
    users: Counter[ExecutionPath] = field(default_factory=Counter)
    split: Decimal = Decimal(1)
    """The evidence that users' arms are not drawn by the share."""
    _bad: dict[Metric, Counter[tuple[Decimal, bool]]] = field(
        default_factory=lambda: {metric: Counter() for metric in METRICS}
    )
    _slow: Counter[tuple[Decimal, bool]] = field(default_factory=Counter)
    _drawn: Counter[tuple[Decimal, bool]] = field(default_factory=Counter)
    _seen: set[str] = field(default_factory=set)
    _had: set[tuple[str, Metric]] = field(default_factory=set)
    _timed: set[str] = field(default_factory=set)

    def add(self, outcome: Outcome) -> bool:
        """In the order of their ends. Whether its user is new: `draw` is for those."""
        p, hit = chance(outcome.share), outcome.arm == "A2"
        is_new = outcome.user not in self._seen
        if is_new:
            self._seen.add(outcome.user)
            self.users[outcome.arm] += 1
        for metric in sorted(outcome.bad):
            if (outcome.user, metric) not in self._had:
                self._had.add((outcome.user, metric))
                self._bad[metric][p, hit] += 1
        if hit and outcome.slow is not None and outcome.user not in self._timed:
            self._timed.add(outcome.user)
            self._slow[self.slow_limit, outcome.slow] += 1
        return is_new

    def draw(self, outcome: Outcome) -> None:
        """What a new user's first job says of the split, in any order. Not before what the other
        arm was asked meanwhile is over too: of two arms the faster one would look larger."""
        p, hit = chance(outcome.share), outcome.arm == "A2"
        drawn = self._drawn
        self.split = drawn_otherwise(self.split, p, drawn[p, True], drawn[p, False], hit=hit)
        drawn[p, hit] += 1

    @property
    def bad(self) -> Mapping[Metric, Counts]:
        """First bad events, by the share and by whether they were A2's."""
        return self._bad

    @property
    def slow(self) -> Counts:
        """First jobs of A2's users, by the limit and by whether they were slow."""
        return self._slow
