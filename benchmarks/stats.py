"""The few statistics the report needs."""

from collections.abc import Sequence
from statistics import median


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank of an ascending sequence; 0.0 for none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "p50": percentile(ordered, 0.5),
        "p99": percentile(ordered, 0.99),
        "max": ordered[-1] if ordered else 0.0,
    }


def middle(values: Sequence[float | None]) -> float | None:
    """The median of those that were measured, None if none was."""
    measured = [value for value in values if value is not None]
    return median(measured) if measured else None


def ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def fairness(counts: Sequence[int]) -> float:
    """Jain's index: 1.0 when all got the same, 1/n when one got everything."""
    total = sum(counts)
    return total * total / (len(counts) * sum(n * n for n in counts)) if total else 0.0
