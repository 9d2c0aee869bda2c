"""How load grows: a model of CPU per job, token, copy and wake-up, fitted to what was measured.

    python -m benchmarks.growth [FOLDER]

A *copy* is one token sent to one reader. A *wake-up* is a token that finds the process asleep;
a busy process takes what has come in the meantime at its next turn, so there are as many as the
share of time it sleeps. For every process the model is

    CPU = a * jobs + b * tokens + c * copies + d * wake-ups

fitted by least squares to relative errors, no term below zero. It reads what `python -m
benchmarks` (result.json) and `python -m benchmarks.fleet` (fleet.json) have left in the folder,
and renews the tables between the marks in docs/scaling.md.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.capacity import capacity
from benchmarks.processes import ROOT
from benchmarks.results import DISTURBED
from benchmarks.svg import short

NEARLY_IDLE, SATURATED = 0.03, 0.95
"""Shares of a core. A process below pays for its timers, one above for what it leaves undone."""
TERMS = ("jobs", "tokens", "copies", "wakes")
PACE_S = 0.02
LONG_TOKENS_S = 5000
"""What `long` in benchmarks/special.py asks for, all streams together."""
PAGE = ROOT / "docs" / "scaling.md"


@dataclass(frozen=True, slots=True)
class Seen:
    """What one load cost one process. A moment or a whole job, or a share of either."""

    says: str
    jobs: float
    tokens: float
    copies: float
    cpu_us: float
    asleep: float = 0
    disturbed: bool = False

    @property
    def work(self) -> tuple[float, ...]:
        return self.jobs, self.tokens, self.copies, self.tokens * self.asleep


@dataclass(frozen=True, slots=True)
class Model:
    """CPU microseconds by term. One that is missing costs nothing, or goes with an earlier one:

    where every token had one reader, `tokens` includes the copy.
    """

    cost: Mapping[str, float]

    def cpu_us(self, jobs: float, tokens: float, copies: float, wakes: float) -> float:
        done = zip(TERMS, (jobs, tokens, copies, wakes), strict=True)
        return sum(self.cost.get(term, 0) * amount for term, amount in done)

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


def of_result(result: Mapping[str, Any]) -> dict[str, list[Seen]]:
    """Loads by process. Unpaced rows are left out: what is coalesced is not sent by token."""
    loads: dict[str, list[Seen]] = defaultdict(list)
    for row in result["rows"]:
        server, fits = row["server"], NEARLY_IDLE < row["busy"] < SATURATED
        if server.startswith("a2-") and row["pace_ms"] and row["cpu_us"] and fits:
            asleep, disturbed = _asleep(row["busy"], row["waited"]), row["waited"] > DISTURBED
            says = f"{row['streams']} streams"
            loads[server].append(Seen(says, 0, 1, 1, row["cpu_us"], asleep, disturbed))
    for name, samples in result["figures"].items():
        figure, _, of = name.partition(" ")
        value = median(samples)
        if figure == "round_cpu_ms" and of.startswith("a2-"):
            loads[of].append(Seen("a job of 2 tokens", 1, 2, 2, value * 1000))
        elif figure == "long_cpu_us":
            tokens, asleep = int(of), _asleep(value * LONG_TOKENS_S / 1e6)
            says = f"a job of {tokens} tokens"
            loads["a2-memory"].append(Seen(says, 1, tokens, tokens, value * tokens, asleep))
        elif figure == "readers_cpu_us":
            busy, says = value / PACE_S / 1e6, f"{of} readers of a job"
            if busy > NEARLY_IDLE:
                seen = Seen(says, 0, 1, int(of), value, _asleep(busy))
                loads["a2-memory"].append(seen)
    return loads


def of_fleet(fleet: Mapping[str, Any]) -> dict[str, list[Seen]]:
    loads: dict[str, list[Seen]] = defaultdict(list)
    for load in fleet["loads"]:
        work = load["jobs"], load["tokens"], load["copies"]
        for process, cpu_us in load["cpu_us"].items():
            busy, waited = cpu_us / 1e6 / load["seconds"], load["waited"][process]
            if NEARLY_IDLE < busy < SATURATED:
                asleep, disturbed = _asleep(busy, waited), waited > DISTURBED
                loads[process].append(Seen(load["says"], *work, cpu_us, asleep, disturbed))
    return loads


def _asleep(busy: float, waited: float = 0) -> float:
    return max(0.0, 1 - busy - waited)


def calm(loads: Sequence[Seen]) -> list[Seen]:
    """Those that other processes did not disturb, or all if they disturbed each."""
    return [load for load in loads if not load.disturbed] or list(loads)


def models_table(loads: Mapping[str, Sequence[Seen]]) -> str:
    lines = [
        "| process | a job, µs | a token | a copy | a wake-up | error | worst | at | loads |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for process, seen in loads.items():
        used = calm(seen)
        model = fit(used)
        errors = sorted(used, key=lambda load: abs(model.error(load)))
        middle = median(abs(model.error(load)) for load in used)
        worst = errors[-1]
        cells = [
            process,
            *(short(model.cost[term]) if term in model.cost else "–" for term in TERMS),
            f"{middle:.0%}",
            f"{model.error(worst):+.0%}",
            worst.says,
            f"{len(used)}, disturbed" if used[0].disturbed else f"{len(used)}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def figures_table(machine: Mapping[str, Any], figures: Mapping[str, float]) -> str:
    says = {
        "gateway_job": ("gateway, a live stream with its reader", "KiB", 1024),
        "gateway_reader": ("gateway, one reader more of a job that is silent", "KiB", 1024),
        "worker_job": ("worker, a running job", "KiB", 1024),
        "redis_token": ("Redis, a token at the usual pace, with its share of its log", "bytes", 1),
    }
    lines = ["| memory of | |", "| --- | --- |"]
    lines += [
        f"| {text} | {short(figures[n] / by)} {unit} |" for n, (text, unit, by) in says.items()
    ]
    about = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in machine.items())
    return "\n".join(lines) + f"\n\nMeasured on: {about}."


def renew(page: str, tables: Mapping[str, str]) -> str:
    """The page with what stands between `<!-- name -->` and `<!-- /name -->` replaced."""
    for name, table in tables.items():
        before, begin, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if end:
            page = f"{before}{begin}\n{table}\n\n{end}{after}"
    return page


def _read(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in ("result", "fleet"):
        path = folder / f"{name}.json"
        if path.exists():
            yield name, json.loads(path.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default="docs/reports/performance")
    found = dict(_read(parser.parse_args().folder))
    tables = {}
    if result := found.get("result"):
        tables["one process"] = models_table(of_result(result))
    if fleet := found.get("fleet"):
        loads = of_fleet(fleet)
        tables["fleet"] = models_table(loads)
        models = {process: fit(calm(seen)) for process, seen in loads.items()}
        tables["figures"] = figures_table(fleet["machine"], fleet["figures"])
        tables["capacity"] = capacity(models, fleet["figures"])
    for name, table in tables.items():
        print(f"{name}\n\n{table}\n")
    PAGE.write_text(renew(PAGE.read_text(), tables))


if __name__ == "__main__":
    main()
