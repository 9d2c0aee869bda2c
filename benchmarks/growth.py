"""How load grows: a model of CPU per job, token and reader, fitted to what was measured.

    python -m benchmarks.growth [FOLDER]

`benchmarks/model.py` says what the model is, `capacity` how many processes a number of live
streams takes. It reads what `python -m benchmarks` (result.json) and `python -m benchmarks.fleet`
(fleet.json) have left in the folder, and renews the tables between the marks in docs/scaling.md.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.fake_model import MEAN
from benchmarks.model import TERMS, Model, Seen, fit
from benchmarks.processes import ROOT
from benchmarks.results import DISTURBED
from benchmarks.svg import short

SATURATED = 0.95
PACE_S = 0.02
LONG_TOKENS_S = 5000
"""What `long` in benchmarks/special.py asks for, all streams together."""
ALONE = ("a2-memory", "a2-sqlite")
"""Servers that are one process."""
PAGE = ROOT / "docs" / "scaling.md"
TOKENS_S = 30
"""Of one answer, as models write."""
ANSWER = 400
"""Tokens."""
READERS = 1.2
"""Of one answer: now and then a second tab, or a second device."""
BUSY = 0.6
"""Share of a core that is planned with; the rest is for peaks and for the model's error."""
RETENTION_S = 3600
LIVE = (100, 1_000, 10_000, 100_000)
PROCESSES = ("worker", "gateway", "redis", "postgres")
GIB = 1 << 30
KIB = 1 << 10


def of_result(result: Mapping[str, Any]) -> dict[str, list[Seen]]:
    """Loads by process. As in life, a token brings its share of a job."""
    loads: dict[str, list[Seen]] = defaultdict(list)
    for row in result["rows"]:
        server, cpu_us, busy = row["server"], row["cpu_us"], row["busy"]
        if server in ALONE and row["pace_ms"] and cpu_us and busy < SATURATED:
            seconds = 1 / row["tokens_s"]
            mixed = row.get("mixed", False)
            says = f"{row['streams']} streams{' as in life' if mixed else ''}"
            jobs = 1 / MEAN if mixed else 0
            loads[server].append(Seen(says, jobs, 1, 1, seconds, cpu_us, row["waited"]))
    figures = {name: median(samples) for name, samples in result["figures"].items()}
    for name, value in figures.items():
        figure, _, of = name.partition(" ")
        if figure == "round_cpu_ms" and of in ALONE:
            seconds = figures[f"round_ms {of}"] / 1000
            loads[of].append(Seen("a job of 2 tokens", 1, 2, 2, seconds, value * 1000))
        elif figure == "long_cpu_us":
            n, says = int(of), f"a job of {of} tokens"
            loads["a2-memory"].append(Seen(says, 1, n, n, n / LONG_TOKENS_S, value * n))
        elif figure == "readers_cpu_us":
            says = f"{of} readers of a job"
            loads["a2-memory"].append(Seen(says, 0, 1, int(of), PACE_S, value))
    return loads


def of_fleet(fleet: Mapping[str, Any]) -> dict[str, list[Seen]]:
    loads: dict[str, list[Seen]] = defaultdict(list)
    for load in fleet["loads"]:
        jobs, tokens, seconds = load["jobs"], load["tokens"], load["seconds"]
        for process, cpu_us in load["cpu_us"].items():
            copies = load["copies"] if process == "gateway" else 0  # the others see no reader
            if 0 < cpu_us < SATURATED * seconds * 1e6:
                work = jobs, tokens, copies, seconds
                loads[process].append(Seen(load["says"], *work, cpu_us, load["waited"][process]))
    return loads


def calm(loads: Sequence[Seen]) -> list[Seen]:
    """Of each load the rounds that others did not disturb, or all if they disturbed each."""
    rounds = defaultdict(list)
    for load in loads:
        rounds[load.says].append(load)
    found = []
    for same in rounds.values():
        found += [load for load in same if load.waited <= DISTURBED] or same
    return found


def models_table(loads: Mapping[str, Sequence[Seen]]) -> str:
    heads = ("process", *TERMS, "error", "worst", "at", "loads", "disturbed")
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
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
            str(len(used)),
            str(sum(load.waited > DISTURBED for load in used)),
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


def cores(model: Model, live: float, tokens_s: float = TOKENS_S) -> float:
    """What so many answers that are being written and read at once cost."""
    tokens = live * tokens_s
    wakes = tokens * (1 - BUSY)
    return model.cpu_us(live * TOKENS_S / ANSWER, tokens, tokens * READERS, wakes, 0) / 1e6


def assumptions() -> str:
    return (
        f"{TOKENS_S} tokens/s and {ANSWER} tokens an answer, {READERS} readers each,"
        f" {BUSY:.0%} of a core used, logs kept for {RETENTION_S} s."
    )


def capacity(models: Mapping[str, Model], figures: Mapping[str, float]) -> str:
    """`figures` in bytes: see `python -m benchmarks.fleet`."""
    head = ["live streams", *(short(live) for live in LIVE)]
    rows = [["tokens/s", *(short(live * TOKENS_S) for live in LIVE)]]
    rows += [["jobs/s", *(short(live * TOKENS_S / ANSWER) for live in LIVE)]]
    rows += [_needed(name, models[name], TOKENS_S) for name in PROCESSES if name in models]
    if "redis" in models:
        rows.append(_needed("… redis, if it kept no tokens", models["redis"], 0))
    for says, each in _bytes(figures).items():
        rows.append([says, *(f"{each * live / GIB:,.1f} GiB" for live in LIVE)])
    lines = [head, ["---"] * len(head), *rows]
    return f"{assumptions()}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _needed(says: str, model: Model, tokens_s: float) -> list[str]:
    room = BUSY - model.cost.get("seconds", 0) / 1e6
    one = room / cores(model, 1, tokens_s)
    return [f"{says}: one carries {short(one)}", *(short(ceil(live / one)) for live in LIVE)]


def _bytes(figures: Mapping[str, float]) -> dict[str, float]:
    """Memory by what holds it, for one live stream."""
    kept = figures["redis_token"] * TOKENS_S * RETENTION_S
    return {
        "memory of all workers' jobs": figures["worker_job"],
        "memory of all gateways' streams": figures["gateway_job"]
        + (READERS - 1) * figures["gateway_reader"],
        "memory of all Redis": kept,
    }


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
    parser.add_argument("folder", type=Path, nargs="?", default="benchmarks/results")
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
