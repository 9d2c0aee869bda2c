"""Writes a run down: `result.md`, `result.json` and the charts, and the tables in the docs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals import GOALS
from benchmarks.growth import renew
from benchmarks.mix import FULL, LAG_MS, LIGHT, MIX, RATED, offered
from benchmarks.processes import ROOT
from benchmarks.results import Results, Row
from benchmarks.servers import NAIVE, NAIVE_AGENT, PASSTHROUGH, PROXY, SERVERS, SLUICE
from benchmarks.stats import middle
from benchmarks.svg import bars, short

SATURATED = 0.95
REPORT = ROOT / "docs" / "reports" / "performance.md"
README = ROOT / "README.md"
AGENTS = ("agent", NAIVE_AGENT.name)


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


def renew_pages(machine: dict[str, Any], results: Results) -> None:
    """What stands between the marks in the report and in the README."""
    tables = sections(results) | {"machine": about(machine)}
    tables["goals"] = goal_table(results)
    REPORT.write_text(renew(REPORT.read_text(), tables))
    README.write_text(renew(README.read_text(), {"speed": headline(results)}))


def about(machine: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in machine.items())


def judged(results: Results) -> list[dict[str, Any]]:
    rows = []
    for goal in GOALS:
        value = goal.measure(results)
        bound = {"unit": goal.unit, "goal": goal.goal, "far": goal.far, "at_most": goal.most}
        told = {"says": goal.says, "today": goal.today, "value": value, **bound}
        rows.append(told | {"judged": goal.judge(value)})
    return rows


def markdown(machine: dict[str, Any], results: Results, refused: dict[str, str]) -> str:
    parts = [about(machine)]
    parts += [f"Not measured: {name}: {reason}" for name, reason in refused.items()]
    if disturbed := sum(row.disturbed for row in results.rows):
        others = "in which other processes took the server's CPU: they prove no goal and no ratio"
        parts.append(f"{disturbed} of {len(results.rows)} loads were disturbed, {others}.")
    parts += ["## Goals", goal_table(results)]
    titles = {
        "mix": f"{FULL} streams as in life",
        "light": f"{LIGHT} streams as in life",
        "rate": f"Largest rate with a lag p99 of at most {LAG_MS} ms",
        "parts": "An answer and a lone token, in instructions",
        "slots": f"{FULL} streams in slots, answers without end",
    }
    for name, table in sections(results).items():
        parts += [f"## {titles[name]}", table]
    if results.rows:
        parts += ["## What else came out", _outcomes(results)]
    figures = [[name, short(results.figure(name) or 0)] for name in results.samples]
    parts += ["## Single figures (medians)", _table(["figure", "value"], figures)]
    return "\n\n".join(parts) + "\n"


def sections(results: Results) -> dict[str, str]:
    """The tables, by the names of their marks."""
    return {
        "mix": side_by_side(results, FULL),
        "light": side_by_side(results, LIGHT),
        "rate": _rates(results),
        "parts": _parts(results),
        "slots": side_by_side(results, FULL, mixed=False),
    }


def goal_table(results: Results) -> str:
    rows = [
        [
            goal["says"],
            goal["today"],
            _say(goal["value"], goal["unit"]),
            ("≤ " if goal["at_most"] else "≥ ") + short(goal["goal"]),
            "–" if goal["far"] is None else short(goal["far"]),
            goal["judged"].replace("not met", "**not met**"),
        ]
        for goal in judged(results)
    ]
    return _table(["goal", "before", "measured", "must", "far", ""], rows)


def headline(results: Results) -> str:
    """Who costs what as in life, for those who read one table."""
    names = (PROXY.name, SLUICE.name, "chatopenai", PASSTHROUGH.name, NAIVE.name)
    rows = []
    for name in (*names, *AGENTS):
        lag = results.at(name, FULL, lambda row: row.lag_p99_ms)
        cells = [_across(results.ratios(name, PROXY.name, FULL)), _say(lag, "ms")]
        if results.rounds(name, FULL):
            rows.append([SERVERS[name].says, *cells, _say(results.figure(f"rate {name}"))])
    head = f"tokens/s one core bears with lag p99 ≤ {LAG_MS} ms"
    return _table(["", "CPU per token, in byte proxies", "lag p99", head], rows)


def side_by_side(results: Results, streams: int, *, mixed: bool = True) -> str:
    """A server a line; ratios are medians of the rounds, with the least and the most."""
    rows = []
    for server in SERVERS.values():
        rounds = results.rounds(server.name, streams, mixed=mixed)
        calm = [row for row in rounds if not row.disturbed]
        if not calm:
            continue
        naive = NAIVE_AGENT if server.name in AGENTS else NAIVE
        others = (
            results.ratios(server.name, PROXY.name, streams, mixed=mixed),
            results.ratios(PASSTHROUGH.name, server.name, streams, mixed=mixed),
            results.ratios(naive.name, server.name, streams, mixed=mixed),
        )
        told = [_across([row.cpu_us for row in calm if row.cpu_us], "µs"), *map(_across, others)]
        rows.append([server.says, *told, *_middles(calm, whole=server.whole)])
    sent = f" of {offered(streams):,.0f}" if mixed else ""
    head = ["server", "CPU per token", "in byte proxies", "pass-through / it", "thirty lines / it"]
    head += [f"tok/s{sent}", "lag p50, p99, ms", "its core busy", "the rig's core busy"]
    return _table(head, rows)


def _middles(rows: Sequence[Row], *, whole: bool) -> list[str]:
    lag = [middle([row.lag_p50_ms for row in rows]), middle([row.lag_p99_ms for row in rows])]
    busy = [middle([row.busy for row in rows]), middle([row.rig_busy for row in rows])]
    shares = [
        f"{share or 0:.0%}{' (saturated)' if (share or 0) > SATURATED else ''}" for share in busy
    ]
    lags = "–" if whole else ", ".join(_say(each) for each in lag)
    return [_say(middle([row.tokens_s for row in rows])), lags, *shares]


def _rates(results: Results) -> str:
    rows = []
    for server in RATED:
        found = [
            results.figure(f"{name} {server.name}")
            for name in ("rate", "rate_streams", "rate_lag_ms", "rate_busy", "rate_rig")
        ]
        if found[0] is not None:
            shares = [f"{share or 0:.0%}" for share in found[3:]]
            rows.append([server.says, *(_say(each) for each in found[:3]), *shares])
    head = ["server", "tok/s", "streams", "lag p99, ms", "its core busy", "the rig's core busy"]
    return _table(head, rows)


def _parts(results: Results) -> str:
    rows = []
    for service in ("llm", "ChatOpenAI", "A1"):
        parts = [results.figure(f"instructions {part}, {service}") for part in PARTS]
        before = [results.figure(f"instructions before: {part}, {service}") for part in PARTS]
        rows.append(
            [
                service,
                *(_say(each, "M") for pair in zip(before, parts, strict=True) for each in pair),
            ]
        )
    head = ["", "an answer, before", "now", "a lone token, before", "now"]
    return _table(head, rows)


PARTS = ("answer", "lone token")


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
            load = f"{row.streams}, {'as in life' if row.mixed else 'in slots'}"
            rows.append([SERVERS[row.server].says, load, "; ".join(said)])
    return (
        _table(["server", "streams", "what"], rows)
        if rows
        else "Every answer ended rightly, undisturbed."
    )


def charts(results: Results) -> dict[str, str]:
    each = {
        server.says: results.at(server.name, FULL, lambda row: row.cpu_us) for server in MIX[FULL]
    }
    memory = {server.says: results.figure(f"stream_kib {name}") for name, server in SERVERS.items()}
    return {
        "cpu": bars(f"CPU per token, {FULL} streams as in life", "µs", _measured(each)),
        "memory": bars("Memory of a silent stream", "KiB", _measured(memory)),
    }


def _measured(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _across(values: Sequence[float], unit: str = "") -> str:
    """The median, and how far the rounds are apart."""
    if not values:
        return "–"
    told = _say(middle(values), unit)
    return told if len(values) < 2 else f"{told} ({short(min(values))} to {short(max(values))})"


def _say(value: float | None, unit: str = "") -> str:
    return "–" if value is None else f"{short(value)} {unit}".strip()


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
