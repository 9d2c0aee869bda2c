"""What deploy/ asks of Prometheus is there, and is said in its language."""

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from sluice.application.guard import Guard, SoleDecider
from sluice.application.metrics import JobMetrics
from sluice.application.rollout import ControlShare
from sluice.infrastructure.composition.embedded import Embedded
from sluice.infrastructure.flags.sqlite_changes import SqliteShareChanges
from sluice.infrastructure.outcomes.sqlite import SqliteOutcomes
from sluice.infrastructure.settings import read_settings
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.infrastructure.telemetry.loop_watch import LoopWatch
from sluice.infrastructure.telemetry.prometheus import Metrics
from sluice.interfaces.processes.http_service import HttpService

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD: Any = json.loads((DEPLOY / "grafana" / "sluice.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES: Any = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]] + [
    rule["expr"] for rule in ALERTS
]


class Counts:
    running = queued = 0


def a_guard() -> Guard:
    database = SqliteDatabase(":memory:")
    changes, outcomes = SqliteShareChanges(database), SqliteOutcomes(database)
    return Guard(ControlShare(changes), changes, outcomes, SoleDecider())


async def shown() -> str:
    """Everything that a process can show, with a job on each path."""
    guard = a_guard()
    guard.evidence = {"failed": 1.5}
    guard.decisions["step_back", "failed"] += 1
    return told(a_busy_day(), guard)


def told(metrics: JobMetrics, guard: Guard) -> str:
    container = Embedded(settings=read_settings(store="memory://"))
    service = HttpService(container, LoopWatch(), Counts(), drain=_nothing, checks=[])
    return Metrics(metrics, service._gauges(), service._counters(), guard).text().decode()


async def _nothing() -> None:
    pass


def a_busy_day() -> JobMetrics:
    counts = JobMetrics(fallbacks=1)
    for path in ("A1", "A2"):
        for by_path in (
            counts.first_token, counts.first_character, counts.answer, counts.longest_gap,
        ):  # fmt: skip
            by_path[path].add(0.04)
            by_path[path].add(0.3)
            by_path[path].add(1e9)
        counts.left_early[path] += 1
        counts.ended[path, "failed"] += 1
        counts.tokens[path, "input"] += 7
    counts.errors["internal"] += 1
    counts.shadows["A2", "same"] += 1
    counts.shadows_skipped["budget"] += 1
    return counts


@pytest.mark.usefixtures("no_settings")
async def test_every_metric_that_is_asked_for_exists() -> None:
    told = set(re.findall(r"^(\w+)(?:\{| )", await shown(), re.MULTILINE))
    asked = {name for text in EXPRESSIONS for name in re.findall(r"\b(?:sluice|process)_\w+", text)}
    assert asked <= told
    assert len(asked) > 20


@pytest.mark.usefixtures("no_settings")
async def test_what_alerts_wait_for_is_counted_from_the_start() -> None:
    """Prometheus sees no increase in a series that begins with its first event."""
    series = [line.split()[0] for line in told(JobMetrics(), a_guard()).splitlines()]
    waits = re.compile(r"increase\((\w+)(?:\{(.*?)\})?\[")
    found = [found for rule in ALERTS for found in waits.findall(rule["expr"])]
    assert len(found) > 3
    for name, labels in found:
        assert any(
            one.startswith(name) and all(label in one for label in labels.split(","))
            for one in series
        ), (name, labels)


@pytest.mark.usefixtures("no_settings")
async def test_a_histogram_counts_upwards_by_path() -> None:
    text = await shown()
    name = "sluice_first_character_seconds"
    for bound, count in (("0.05", 1), ("0.3", 2), ("30.0", 2), ("+Inf", 3)):
        assert f'{name}_bucket{{le="{bound}",path="A2"}} {count:.1f}\n' in text
    assert f'{name}_count{{path="A1"}} 3.0\n' in text
    assert f'{name}_sum{{path="A1"}} 1.00000000034e+09\n' in text


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_expression_is_promql(expression: str) -> None:
    promql_parser.parse(expression.replace("$__rate_interval", "1m"))


def test_what_is_no_promql_is_not_taken_for_it() -> None:
    with pytest.raises(ValueError, match="parenthesis"):
        promql_parser.parse("sum by (path (rate(sluice_errors_total[5m]))")


def test_labels_that_are_asked_for_are_given() -> None:
    """A grouping by what is not there gives one nameless line."""
    given = {
        "sluice_jobs_ended_total": {"path", "status"}, "sluice_errors_total": {"code"},
        "sluice_left_early_total": {"path"}, "sluice_tokens_total": {"path", "kind"},
        "sluice_guard_evidence": {"metric"}, "sluice_guard_decisions_total": {"action", "rule"},
        "sluice_shadow_runs_total": {"path", "result"}, "sluice_shadow_skipped_total": {"reason"},
    }  # fmt: skip
    for text in EXPRESSIONS:
        for grouped in re.findall(r"by \(([^)]*)\)", text):
            names = re.findall(r"sluice_\w+", text)
            labels = {"le", "path"} if "_bucket" in text else given[names[0]]
            assert set(grouped.split(", ")) <= labels, text


def test_the_dashboard_is_of_the_classic_form_and_of_any_data_source() -> None:
    assert DASHBOARD["schemaVersion"] >= 36
    assert DASHBOARD["id"] is None, "Grafana gives the number"
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["type"], variable["name"]) == ("datasource", "datasource")
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {source["uid"] for source in sources} == {"${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["description"]


def test_a_row_stands_for_each_question() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == [
        "Is A2 better?", "Is the guard right?", "Is anyone waiting?", "What does it cost?",
    ]  # fmt: skip


def test_panels_do_not_lie_on_each_other() -> None:
    taken = set[tuple[int, int]]()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (at["x"] + right, at["y"] + down) for right in range(at["w"]) for down in range(at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_alert_says_what_is_wrong_and_how_bad_it_is() -> None:
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]


def test_the_runbook_says_what_to_do_about_every_alert() -> None:
    runbook = (DEPLOY.parent / "docs" / "operations.md").read_text()
    told = re.findall(r"^\| `(Sluice\w+)` \|", runbook, re.MULTILINE)
    assert sorted(told) == sorted(rule["alert"] for rule in ALERTS)
