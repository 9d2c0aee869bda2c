"""Evidence that holds at every look: test martingales over the users' first bad events.

A sticky user's arm is drawn once. If A2 is no worse, the user of a first bad event is in A2 with
chance p, the share that was in force when the job was admitted, whatever the ramp did before. If
A2 has `r` times the odds, with chance `p r / (p r + 1 - p)`. By Ville's inequality a test
martingale passes `1 / a` with chance at most `a`, at any time.

All is computed with fifty digits: as floats the figures are those of exact fractions.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext

Counts = Mapping[tuple[Decimal, bool], int]
"""How many trials there were, by the chance of a hit without a difference, and by whether it hit.

Of a bad event: by the share as a fraction of 1, and by whether it was A2's.
"""

GRID: Sequence[Decimal] = tuple(map(Decimal, ("1.25", "1.5", "2", "4", "10")))
"""The ratios that evidence is the mean over: it need not be known by how much A2 is worse."""

_DIGITS = Context(prec=50, Emin=MIN_EMIN, Emax=MAX_EMAX)
_LEAST, _MOST = Decimal("1e-6"), Decimal("1e6")
_CLOSE = Decimal("1e-9")


def chance(percent: float) -> Decimal:
    """A share in percent as a fraction of 1, by the digits that it is written with."""
    return Decimal(str(percent)) / 100


def worse(counts: Counts, margin: Decimal) -> Decimal:
    """The evidence that hits have more than `1 + margin` times the odds that they should have.

    1 without any trial. Raises ValueError unless the margin is from 0 to below every ratio of the
    grid.
    """
    if not 0 <= margin < GRID[0] - 1:
        raise ValueError(f"the margin is from 0 to below {GRID[0] - 1}")
    return _mean(lambda ratio: _likelihood_ratio(counts, ratio, 1 + margin))


def better(counts: Counts, ratio: Decimal) -> Decimal:
    """The evidence that hits have less than `ratio` times the odds: the reversed test.

    It never falls while the ratio grows.
    """
    return _mean(lambda step: _likelihood_ratio(counts, ratio / step, ratio))


def upper_end(counts: Counts, alpha: Decimal) -> float | None:
    """Of the confidence sequence: the ratio that is held too large by evidence of `1 / alpha`.

    With chance `1 - alpha` the true ratio is never above it, at whatever time one looks. None:
    too few trials missed for any bound below a million.
    """
    least, most = _LEAST, _MOST
    if not reached(better(counts, most), alpha):
        return None
    with localcontext(_DIGITS):
        while most - least > _CLOSE * most:
            middle = (least * most).sqrt()
            if reached(better(counts, middle), alpha):
                most = middle
            else:
                least = middle
    return float(most)


def reached(evidence: Decimal, alpha: Decimal) -> bool:
    """Whether there is as much as comes with chance `alpha`, at most, where there is no cause."""
    return evidence >= 1 / alpha


def drawn_otherwise(evidence: Decimal, p: Decimal, hits: int, misses: int, *, hit: bool) -> Decimal:
    """The evidence that arms are not drawn by `p`, with one more user's first appearance.

    A mixture over all chances (Beta(1, 1)): after `hits` and `misses` under this `p`, it expects
    another hit with `(hits + 1) / (hits + misses + 2)`. An arm that could not be is proof.
    """
    with localcontext(_DIGITS):
        if p in (0, 1):
            return evidence if hit == bool(p) else Decimal("Infinity")
        expected = Decimal((hits if hit else misses) + 1) / (hits + misses + 2)
        return evidence * expected / (p if hit else 1 - p)


def _mean(of: Callable[[Decimal], Decimal]) -> Decimal:
    with localcontext(_DIGITS):
        return sum((of(ratio) for ratio in GRID), Decimal()) / len(GRID)


def _likelihood_ratio(counts: Counts, one: Decimal, other: Decimal) -> Decimal:
    product = Decimal(1)
    for (p, hit), count in sorted(counts.items()):  # the last digit knows the order
        if 0 < p < 1:  # else the arm was no draw, and tells nothing
            product *= (_chance(p, one, hit=hit) / _chance(p, other, hit=hit)) ** count
    return product


def _chance(p: Decimal, ratio: Decimal, *, hit: bool) -> Decimal:
    return (p * ratio if hit else 1 - p) / (p * ratio + 1 - p)
