"""What the judge found, and the figures of the run."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Verdict:
    """`silences`: seconds by what had happened before."""

    faults: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    disturbed: Counter[str] = field(default_factory=Counter)
    silences: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def wasted(self) -> int:
        """Pieces that the upstream sent for what was thrown away."""
        return self.counts["sent"] - self.counts["useful"]

    def text(self) -> str:
        counts = self.counts
        jobs, exact = counts["jobs"], counts["jobs"] - counts["inexact"]
        readers = f"{counts['subscriptions']} subscriptions, {counts['cuts']} of them cut"
        unknown = f"{counts['unknown']} told that their cursor is unknown"
        share = 100 * self.wasted / (counts["sent"] or 1)
        left = [fault for fault in self.faults if fault.startswith("left over")]
        told = [
            *self.faults[:20],
            f"{exact} of {jobs} jobs exact ({_told(self.ends)})",
            f"{readers}; {unknown}",
            f"disturbed by: {_told(self.disturbed)}",
            "silence of a reader after",
            *(
                f"  {kind}: {_spread(self.silences.get(kind, ()))}"
                for kind in sorted(self.disturbed)
            ),
            f"upstream tokens wasted: {self.wasted} of {counts['sent']} ({share:.1f} %)",
            f"left over: {len(left) or 'nothing'}",
            "PASSED" if not self.faults else f"FAILED: {len(self.faults)} faults",
        ]
        return "\n".join(told)


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items())) or "nothing"


def _spread(silences: Sequence[float] | None) -> str:
    if not silences:
        return "nobody read"
    ordered = sorted(silences)
    p50, p99 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.99))
    return f"p50 {p50:.2f} s, p99 {p99:.2f} s ({len(ordered)} readers)"
