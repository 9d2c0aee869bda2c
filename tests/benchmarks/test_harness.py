"""The pure parts of the measuring side: if these are wrong, so is every figure."""

import hashlib
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import report
from benchmarks.goals import GOALS, Goal
from benchmarks.mix import FULL
from benchmarks.processes import clean_environment
from benchmarks.report import judged, markdown, side_by_side
from benchmarks.results import Results, Row
from benchmarks.sse import PLAIN, SLUICE, SSE_STARLETTE, Reading
from benchmarks.stamp import token
from benchmarks.stats import fairness, middle, ratio, spread
from benchmarks.svg import bars

MARKS = {"machine", "goals", "mix", "light", "rate", "parts", "slots", "speed"}


def frame(content: str) -> bytes:
    return b'event: token\nid: 1-1\ndata: {"content":"%b","node":"answer"}\n\n' % content.encode()


def done(answer: str, tokens: int, path: str = "A2") -> bytes:
    data = {
        "path": path,
        "answer": answer,
        "sha256": hashlib.sha256(answer.encode()).hexdigest(),
        "usage": {"output_tokens": tokens},
    }
    return b"event: done\nid: 1-9\ndata: " + json.dumps(data).encode() + b"\n\n"


def row(server: str, cpu_us: float | None, streams: int = FULL, **changed: object) -> Row:
    values: dict[str, object] = dict.fromkeys(Row.__slots__, 0) | {
        "server": server,
        "streams": streams,
        "pace_ms": 20.0,
        "mixed": True,
        "cpu_us": cpu_us,
        "outcomes": {},
    }
    return Row(**values | changed)  # type: ignore[arg-type]


def test_a_server_is_started_as_one_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("SLUICE_PORT", "1")
    environment = clean_environment({"SLUICE_STORE": "memory://"})
    assert not {"PYTHONDONTWRITEBYTECODE", "SLUICE_PORT"} & environment.keys()
    assert environment["SLUICE_STORE"] == "memory://"


def test_tokens_are_counted_and_timed_however_the_bytes_are_cut() -> None:
    answer = "".join(token(b"", number, 1000).decode() for number in range(3))
    stream = frame(answer[:8]) + frame(answer[8:]) + done(answer, 3)
    lags: list[int] = []
    reading = Reading(SLUICE, b"", lags.append)

    for at in range(len(stream)):
        reading.feed(stream[at : at + 1], 1500)

    assert (reading.tokens, reading.gaps, reading.repeats) == (3, 0, 0)
    assert lags == [500, 500, 500]
    assert reading.fault == ""
    assert reading.content_bytes == len(answer)


def test_the_answer_inside_done_is_not_counted_again() -> None:
    answer = token(b" word", 0, 7).decode()
    reading = Reading(SLUICE, b" word", None)
    reading.feed(frame(answer) + done(answer, 1), 9)
    assert (reading.tokens, reading.fault) == (1, "")


def test_a_gap_and_a_repeat_are_seen() -> None:
    reading = Reading(PLAIN, b"", lambda _: None)
    for number in (0, 2, 2, 3):
        reading.feed(b"data: " + token(b"", number, 7) + b"\n\n", 9)
    assert (reading.tokens, reading.gaps, reading.repeats) == (4, 1, 1)


def test_a_lost_token_shows_in_the_digest_and_in_the_usage() -> None:
    answer = "<0.7><1.7>"
    reading = Reading(SLUICE, b"", None)
    reading.feed(frame("<0.7>") + done(answer, 2), 9)
    assert reading.fault == "sha256 differs"

    reading = Reading(SLUICE, b"", None)
    reading.feed(frame(answer) + done(answer, 5), 9)
    assert reading.fault == "3 tokens missing"


def test_an_answer_that_comes_whole_is_counted_in_done() -> None:
    reading = Reading(SLUICE, b"", None)
    reading.feed(done("<0.7><1.7>", 2, path="A1"), 9)
    assert (reading.tokens, reading.fault) == (2, "")


def test_a_failed_answer_says_its_code() -> None:
    reading = Reading(SLUICE, b"", None)
    reading.feed(b'event: error\nid: 1-2\ndata: {"code":"upstream_truncated"}\n\n', 9)
    assert reading.fault == "upstream_truncated"


def test_a_stream_with_carriage_returns_is_read_too() -> None:
    reading = Reading(SSE_STARLETTE, b"", None)
    reading.feed(b'event: token\r\ndata: {"content": "<0.7>"}\r\n\r\ndata: [DONE]\r\n\r\n', 9)
    assert reading.tokens == 1
    assert reading.last


def test_statistics_of_nothing_are_nothing() -> None:
    assert spread([]) == {"n": 0, "p50": 0.0, "p99": 0.0, "max": 0.0}
    assert middle([None, None]) is None
    assert ratio(1, None) is None
    assert ratio(1, 0) is None
    assert fairness([0, 0]) == 0.0


def test_percentiles_and_fairness() -> None:
    assert spread(list(range(100))) == {"n": 100, "p50": 50, "p99": 99, "max": 99}
    assert fairness([5, 5, 5, 5]) == 1.0
    assert fairness([4, 0, 0, 0]) == 0.25


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(None, "not measured"), (0.7, "not met"), (0.8, "met"), (0.96, "far goal met")],
)
def test_a_goal_judges_itself(value: float | None, verdict: str) -> None:
    goal = Goal("share", "×", lambda _: value, 0.8, 0.95, most=False)
    assert goal.judge(value) == verdict


def test_at_most_means_not_above() -> None:
    goal = Goal("lag", "ms", lambda _: None, 10, 3)
    assert [goal.judge(value) for value in (11, 10, 3)] == ["not met", "met", "far goal met"]


RATIO = "the thirty lines / Sluice, `llm`"


def test_ratios_are_of_rounds_that_were_beside_each_other() -> None:
    ours = [row("a2-sqlite", cpu) for cpu in (100, 10, 200)]
    theirs = [row("naive", cpu) for cpu in (600, 90, 800)]
    results = Results(rows=[each for pair in zip(ours, theirs, strict=True) for each in pair])
    assert results.ratios("naive", "a2-sqlite", FULL) == [6, 9, 4]
    by_goal = {goal["says"]: goal for goal in judged(results)}
    assert (by_goal[RATIO]["value"], by_goal[RATIO]["judged"]) == (6, "met")
    assert "6 (4 to 9)" in side_by_side(results, FULL)


def test_a_disturbed_load_proves_no_goal() -> None:
    results = Results(rows=[row("naive", 6000, waited=0.6), row("a2-sqlite", 100)])
    by_goal = {goal["says"]: goal for goal in judged(results)}
    assert by_goal[RATIO]["judged"] == "not measured"
    assert "1 of 2 loads were disturbed" in markdown({}, results, {})


def test_slots_are_no_part_of_the_mix() -> None:
    results = Results(rows=[row("naive", 600, mixed=False), row("a2-sqlite", 100, mixed=False)])
    assert results.ratios("naive", "a2-sqlite", FULL) == []
    assert results.ratios("naive", "a2-sqlite", FULL, mixed=False) == [6]


def test_the_rigs_own_limit_is_told_beside_each_server() -> None:
    rows = [row("proxy", 30, busy=0.1, rig_busy=0.97), row("a2-sqlite", 60, busy=0.2, rig_busy=0.5)]
    told = side_by_side(Results(rows=rows), FULL).splitlines()
    assert told[2].endswith("| 10% | 97% (saturated) |")
    assert told[3].endswith("| 20% | 50% |")


def test_pages_are_renewed_between_their_marks_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = "".join(f"<!-- {name} -->\nold\n<!-- /{name} -->\n" for name in MARKS)
    for name in ("REPORT", "README"):
        monkeypatch.setattr(report, name, tmp_path / name)
        (tmp_path / name).write_text(f"before\n{marks}after\n")
    rows = [row("a2-sqlite", 60, lag_p99_ms=2), row("proxy", 30)]
    results = Results(rows=rows, samples={"rate a2-sqlite": [9000.0]})
    report.renew_pages({"cpu": "a"}, results)
    assert "| Sluice, `llm`, SQLite | 2 | 2 ms | 9,000 |" in (tmp_path / "README").read_text()
    renewed = (tmp_path / "REPORT").read_text()
    assert renewed.startswith("before\n")
    assert renewed.endswith("after\n")
    assert "old" not in renewed.replace("<!-- speed -->\nold", "")


@pytest.mark.parametrize("page", ["REPORT", "README"])
def test_the_pages_have_the_marks(page: str) -> None:
    text = getattr(report, page).read_text()
    wanted = {"speed"} if page == "README" else MARKS - {"speed"}
    assert {mark for mark in MARKS if f"<!-- {mark} -->\n" in text} == wanted
    assert all(f"\n<!-- /{mark} -->" in text for mark in wanted)


def test_a_run_of_nothing_is_reported_as_not_measured() -> None:
    assert {goal["judged"] for goal in judged(Results())} == {"not measured"}
    assert len(judged(Results())) == len(GOALS)


def test_the_report_names_what_went_wrong() -> None:
    results = Results(rows=[row("naive", 600, outcomes={"ended": 1, "unfinished": 2}, gaps=3)])
    text = markdown({"cpu": "a"}, results, {"a2-redis": "no redis-server on this machine"})
    assert "2 unfinished; 3 gaps" in text
    assert "Not measured: a2-redis: no redis-server on this machine" in text


def test_charts_are_well_formed_and_draw_every_value() -> None:
    chart = ElementTree.fromstring(bars("a < b", "µs", {"x & y": 3, "z": 0}))
    assert len(chart.findall("{*}rect")) == 3


def test_a_chart_of_nothing_is_still_a_chart() -> None:
    ElementTree.fromstring(bars("t", "µs", {}))
