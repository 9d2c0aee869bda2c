"""Whether the guard is right: writes guard.md and its pictures. `python -m docs.reports.guard`.

Needs the extra `report`. Bounded to a few minutes of one core; the same seeds give the same page.
"""

from math import inf, isfinite, sqrt
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from docs.reports.guard_replay import (
    NEEDED,
    Floats,
    Record,
    agrees,
    delays,
    evidence,
    exact_difference,
    highest,
    naive,
    ramp,
    stepped_back,
)

HERE = Path(__file__).parent
ROLLOUTS, SEED = 10_000, 7
RAMPS = {
    "1, 5, 25, 50 %": (1, 5, 25, 50),
    "up and down: 1, 25, 5, 50 %": (1, 25, 5, 50),
    "1 % throughout": (1,),
    "5 % throughout": (5,),
    "25 % throughout": (25,),
    "50 % throughout": (50,),
}
SHARES, RATIOS, DELAYED = (1, 5, 25), (1.5, 2, 5), 400
mpl.rcParams.update(
    {"svg.hashsalt": "sluice", "svg.fonttype": "path", "font.size": 9, "axes.grid": True,
     "grid.alpha": 0.25, "axes.spines.top": False, "axes.spines.right": False}
)  # fmt: skip


def interval(count: int, of: int) -> str:
    """Wilson, 95 %."""
    z, rate = 1.96, count / of
    middle, half = rate + z * z / 2 / of, z * sqrt(rate * (1 - rate) / of + z * z / 4 / of / of)
    low, high = ((middle + sign * half) / (1 + z * z / of) for sign in (-1, 1))
    return f"{max(low, 0):.2%} to {high:.2%}"


def false_alarms(record: Record) -> tuple[list[str], dict[str, tuple[float, float]]]:
    lines, rates = [], {}
    for number, (name, shares) in enumerate(RAMPS.items()):
        p = ramp(record.jobs, *shares)
        guard = peeked = slow = 0
        for part in range(10):
            generator = np.random.default_rng([SEED, number, part])
            drawn = generator.random((ROLLOUTS // 10, record.users))
            found = highest(record, p, drawn)
            guard += int(stepped_back(found).sum())
            slow += int((found["slow beyond its limit"] >= NEEDED["slow"]).sum())
            peeked += int(naive(record, p, drawn).sum())
        rates[name] = guard / ROLLOUTS, peeked / ROLLOUTS
        told = f"{guard} ({guard / ROLLOUTS:.2%}; {interval(guard, ROLLOUTS)})"
        others = f"{slow / ROLLOUTS:.1%} | {peeked / ROLLOUTS:.1%}"
        lines.append(f"| {name} | {told} | {others} |")
    return lines, rates


def detection(record: Record) -> tuple[list[str], dict[float, list[Floats]]]:
    rate = len(record.firsts("failed")) / record.jobs
    lines, found = [], dict[float, list[Floats]]()
    for ratio in RATIOS:
        row = [f"| {ratio:g} times"]
        for share in SHARES:
            took = delays(share, ratio, rate, DELAYED, SEED)
            found.setdefault(ratio, []).append(took)
            middle, most = np.quantile(np.where(np.isfinite(took), took, inf), (0.5, 0.9),
                                       method="lower")  # fmt: skip
            row.append(f"{_jobs(middle)} · {_jobs(most)}")
        lines.append(" | ".join(row) + " |")
    return lines, found


def _jobs(count: float) -> str:
    return f"{count:,.0f}" if isfinite(count) else "not within 20,000 events"


def paths(record: Record) -> None:
    """The evidence of forty A/A rollouts, and of forty with twice the odds, at half the users."""
    p, generator = ramp(record.jobs, 25), np.random.default_rng(SEED)
    first = record.firsts("failed")
    drawn = generator.random((40, record.users))
    figure, axes = _figure(3.0)
    same = evidence(p[first], drawn[:, record.user[first]] < p[first])
    hits = generator.random((40, len(first))) < 0.25 * 5 / (0.25 * 5 + 0.75)
    for name, colour, rows in (
        ("A2 as good as A1", "#8a5a00", same),
        ("A2 fails five times as often", "#0a6fb5", evidence(p[first], hits)),
    ):
        axes.plot(rows.T, color=colour, alpha=0.35, lw=0.8)
        axes.plot([], [], color=colour, label=name)
    axes.axhline(NEEDED["failed"], color="black", ls="--", lw=1, label="steps back")
    axes.set(yscale="log", ylim=(1e-3, 1e4), xlabel="users' first failed jobs", ylabel="evidence")
    axes.legend(loc="upper left")
    _save(figure, "evidence")


def bars(rates: dict[str, tuple[float, float]]) -> None:
    figure, axes = _figure(2.6)
    place = np.arange(len(rates))
    for number, (name, colour) in enumerate(
        (("the guard", "#0a6fb5"), ("fixed test, peeked at every 50 jobs", "#8a5a00"))
    ):
        axes.barh(place + 0.4 * number, [100 * one[number] for one in rates.values()],
                  height=0.38, color=colour, label=name)  # fmt: skip
    axes.axvline(5, color="black", ls="--", lw=1, label="5 %: what was allowed")
    axes.set(yticks=place + 0.2, yticklabels=list(rates), xlabel="% of A/A rollouts stepped back")
    axes.invert_yaxis()
    axes.legend()
    _save(figure, "false-alarms")


def curves(found: dict[float, list[Floats]]) -> None:
    figure, axes = _figure(2.8)
    for ratio, took in found.items():
        low, middle, high = (
            [float(np.quantile(one, q, method="lower")) for one in took] for q in (0.1, 0.5, 0.9)
        )
        axes.plot(SHARES, middle, marker="o", label=f"A2 fails {ratio:g} times as often")
        axes.fill_between(SHARES, low, np.minimum(high, 1e7), alpha=0.15)
    axes.set(xscale="log", yscale="log", xticks=SHARES, xlabel="share, %", ylabel="jobs")
    axes.set_xticks(SHARES, [f"{share} %" for share in SHARES])
    axes.legend()
    _save(figure, "detection")


def _figure(height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(7.5, height), layout="constrained")
    return figure, figure.subplots()


def _save(figure: Figure, name: str) -> None:
    path = HERE / "guard_data" / f"{name}.svg"
    figure.savefig(path, format="svg", metadata={"Date": None})
    lines = [line.rstrip() for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")


def page(record: Record) -> str:
    alarms, rates = false_alarms(record)
    found_lines, found = detection(record)
    paths(record)
    bars(rates)
    curves(found)
    p = ramp(record.jobs, 1, 5, 25, 50)
    off = agrees(record, p, np.random.default_rng(SEED).random((20, record.users)))
    counts = np.bincount(record.user)
    rate = len(record.firsts("failed")) / record.jobs
    text = (HERE / "guard_data" / "page.txt").read_text()
    return text.format(
        jobs=record.jobs, users=record.users, heaviest=int(counts.max()),
        failed=f"{record.bad['failed'].mean():.1%}", left=f"{record.bad['left'].mean():.1%}",
        rollouts=f"{ROLLOUTS:,}", alarms="\n".join(alarms), delays="\n".join(found_lines),
        shares=" | ".join(f"at {share} %" for share in SHARES), rate=f"{rate:.1%}",
        exact=f"{exact_difference():g}", off=f"{off:.0e}", delayed=DELAYED,
    )  # fmt: skip


if __name__ == "__main__":
    (HERE / "guard.md").write_text(page(Record.read()))
