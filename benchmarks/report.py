"""Writes a run down: `result.md`, `result.json` and the charts, into one folder."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals import GOALS
from benchmarks.results import Results, Row
from benchmarks.servers import SERVERS
from benchmarks.stats import ratio
from benchmarks.svg import bars, lines, short

SATURATED = 0.95
COLUMNS: dict[str, Callable[[Row], float | None]] = {
    "CPU µs per token of the server": lambda row: row.cpu_us,
    "tokens per second held": lambda row: row.tokens_s,
    "wire bytes per token": lambda row: row.wire_bytes,
}
LAGS: dict[str, Callable[[Row], float | None]] = {
    "lag p50, ms": lambda row: row.lag_p50_ms or None,
    "lag p99, ms": lambda row: row.lag_p99_ms or None,
    "lag max, ms": lambda row: row.lag_max_ms or None,
}
PACES = ((20.0, "paced at 20 ms", COLUMNS | LAGS), (0.0, "unpaced", COLUMNS))
"""Unpaced, a lag is the time spent in socket buffers, which says nothing of the server."""


def write(folder: Path, machine: dict[str, Any], results: Results, refused: dict[str, str]) -> str:
    """Returns the Markdown it wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    text = markdown(machine, results, refused)
    (folder / "result.md").write_text(text)
    said = {"machine": machine, "refused": refused, **results.as_json(), "goals": judged(results)}
    (folder / "result.json").write_text(json.dumps(said, indent=1) + "\n")
    for name, chart in charts(results).items():
        (folder / f"{name}.svg").write_text(chart)
    return text


def judged(results: Results) -> list[dict[str, Any]]:
    rows = []
    for goal in GOALS:
        value = goal.measure(results)
        bound = {"unit": goal.unit, "goal": goal.goal, "far": goal.far, "at_most": goal.most}
        rows.append({"says": goal.says, "value": value, **bound, "judged": goal.judge(value)})
    return rows


def markdown(machine: dict[str, Any], results: Results, refused: dict[str, str]) -> str:
    parts = [", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in machine.items())]
    parts += [f"Not measured: {name}: {reason}" for name, reason in refused.items()]
    if disturbed := sum(row.disturbed for row in results.rows):
        others = "in which other processes took the server's CPU: they prove no goal and no ratio"
        parts.append(f"{disturbed} of {len(results.rows)} loads were disturbed, {others}.")
    parts += ["## Goals", _goal_table(results), "## Ratios at 50 paced streams", _ratios(results)]
    for pace_ms, says, columns in PACES:
        rows = [row for row in results.rows if row.pace_ms == pace_ms]
        if rows:
            parts.append(f"## Streams {says}")
            for title, read in columns.items():
                parts += [f"### {title}", _by_streams(results, rows, read, pace_ms)]
    if results.rows:
        parts += ["## What else came out", _outcomes(results)]
    figures = [[name, short(results.figure(name) or 0)] for name in results.samples]
    parts += ["## Single figures (medians)", _table(["figure", "value"], figures)]
    return "\n\n".join(parts) + "\n"


def _goal_table(results: Results) -> str:
    rows = [
        [
            goal["says"],
            _say(goal["value"], goal["unit"]),
            ("≤ " if goal["at_most"] else "≥ ") + short(goal["goal"]),
            "" if goal["far"] is None else short(goal["far"]),
            goal["judged"],
        ]
        for goal in judged(results)
    ]
    return _table(["goal", "measured", "aimed at", "far goal", ""], rows)


def _ratios(results: Results) -> str:
    """CPU per token of each server in that of three others."""
    others = ("naive", "passthrough", "proxy")
    rows = []
    for name in _measured(results.rows):
        cpu = results.cpu(name)
        shares = [ratio(results.cpu(other), cpu) for other in others]
        if cpu is not None and name != "direct":
            rows.append([SERVERS[name].says, _say(cpu, "µs"), *(_say(s, "×") for s in shares)])
    return _table(["server", "CPU per token", *(f"{o} costs" for o in others)], rows)


def _by_streams(
    results: Results, rows: Sequence[Row], read: Callable[[Row], float | None], pace_ms: float
) -> str:
    streams = sorted({row.streams for row in rows})
    body = [
        [SERVERS[name].says, *(_say(results.at(name, n, read, pace_ms)) for n in streams)]
        for name in _measured(rows)
    ]
    return _table(["streams", *map(str, streams)], body)


def _outcomes(results: Results) -> str:
    """Loads in which not every answer ended as it should, or that were not measured well."""
    rows = []
    for row in results.rows:
        said = [f"{n} {name}" for name, n in row.outcomes.items() if name != "ended"]
        said += [f"{row.gaps} gaps"] if row.gaps else []
        said += [f"{row.repeats} repeats"] if row.repeats else []
        said += ["load generator saturated"] if row.rig_busy > SATURATED else []
        said += [f"disturbed: {row.waited:.0%} of the time"] if row.disturbed else []
        if said:
            load = f"{row.streams}, {'paced' if row.pace_ms else 'unpaced'}"
            rows.append([SERVERS[row.server].says, load, "; ".join(said)])
    return (
        _table(["server", "streams", "what"], rows)
        if rows
        else "Every answer ended rightly, undisturbed."
    )


def charts(results: Results) -> dict[str, str]:
    names = [name for name in _measured(results.rows) if name != "direct"]
    each = {name: results.at(name, 50, lambda row: row.cpu_us) for name in names}
    cpu = {SERVERS[name].says: value for name, value in each.items() if value is not None}
    memory = {
        SERVERS[name].says: value
        for name in SERVERS
        if (value := results.figure(f"stream_kib {name}")) is not None
    }
    over = "streams, a token every 20 ms each"
    return {
        "cpu": bars("CPU per token, 50 paced streams", "µs", cpu),
        "memory": bars("Memory per open stream", "KiB", memory),
        "throughput": lines(
            "Tokens per second held on one core", over, "tokens/s",
            _series(results, names, lambda row: row.tokens_s), log=False,
        ),
        "lag": lines(
            "Lag from upstream to client, p99", over, "ms",
            _series(results, names, lambda row: row.lag_p99_ms), log=True,
        ),
    }  # fmt: skip


def _series(
    results: Results, names: Sequence[str], read: Callable[[Row], float | None]
) -> dict[str, list[tuple[float, float]]]:
    streams = sorted({row.streams for row in results.rows if row.pace_ms})
    return {
        SERVERS[name].says: [
            (n, value) for n in streams if (value := results.at(name, n, read)) is not None
        ]
        for name in names
        if not SERVERS[name].whole
    }


def _measured(rows: Sequence[Row]) -> list[str]:
    found = {row.server for row in rows}
    return [name for name in SERVERS if name in found]


def _say(value: float | None, unit: str = "") -> str:
    return "–" if value is None else f"{short(value)} {unit}".strip()


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
