"""What the judge found, and the figures of the run."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Verdict:
    faults: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    silences: list[float] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)

    def text(self) -> str:
        jobs, exact = self.counts["jobs"], self.counts["jobs"] - self.counts["inexact"]
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        disturbed = ", ".join(
            f"{count} {kind.removeprefix('disturbed ')}"
            for kind, count in sorted(self.counts.items())
            if kind.startswith("disturbed ")
        )
        quiet = sorted(self.silences) or [0.0]
        counts = self.counts
        readers = f"{counts['subscriptions']} subscriptions, {counts['cuts']} of them cut"
        unknown = f"{counts['unknown']} told that their cursor is unknown"
        silence = f"p50 {_share(quiet, 0.5):.2f} s, p99 {_share(quiet, 0.99):.2f} s"
        told = [
            *self.faults[:20],
            f"{exact} of {jobs} jobs exact ({ends or 'none'})",
            f"{readers}; {unknown}",
            f"disturbed by: {disturbed or 'nothing'}",
            f"silence of a reader that was cut: {silence}",
            "PASSED" if not self.faults else f"FAILED: {len(self.faults)} faults",
        ]
        return "\n".join(told)


def _share(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
