"""A model that is wrong plans a fleet that is wrong."""

from dataclasses import replace

import pytest

from benchmarks.growth import (
    BUSY,
    READERS,
    TOKENS_S,
    calm,
    capacity,
    cores,
    models_table,
    of_fleet,
    of_result,
    renew,
)
from benchmarks.model import Model, Seen, fit

KNOWN = Model({"jobs": 4000, "tokens": 60, "copies": 25, "wakes": 80, "seconds": 5000})
LOADS = {
    "nothing": (0, 0, 0),
    "half": (0, 2000, 2000),
    "busy": (0, 4000, 4000),
    "readers": (0, 50, 5000),
    "jobs": (50, 100, 100),
}


def second(says: str, by: float = 1) -> Seen:
    """A second of a load, `by` as expensive as known. What it costs depends on how long the

    process sleeps, which depends on what it costs.
    """
    seen = Seen(says, *LOADS[says], 1, 1)
    for _ in range(50):
        seen = replace(seen, cpu_us=KNOWN.cpu_us(*seen.work) * by)
    return seen


def busy(jobs: float, tokens: float, copies: float, cpu_us: float) -> Seen:
    """Of a process that is never asleep."""
    return Seen("a load", jobs, tokens, copies, cpu_us / 1e6, cpu_us)


def test_costs_are_found_again() -> None:
    assert fit([second(says) for says in LOADS]).cost == pytest.approx(KNOWN.cost, rel=1e-3)


def test_a_little_noise_changes_little() -> None:
    loads = [second(says, by) for says in LOADS for by in (0.95, 1.05)]
    assert max(abs(fit(loads).error(second(says))) for says in LOADS) < 0.02


def test_a_token_that_wakes_the_process_costs_more() -> None:
    loads = [Seen("quiet", 0, 500, 500, 1, 100_000), Seen("busy", 0, 7500, 7500, 1, 900_000)]
    assert fit(loads).cost == pytest.approx({"tokens": 110, "wakes": 100})


def test_what_no_load_tells_apart_is_one_cost() -> None:
    loads = [busy(0, 1, 1, 115), busy(0, 50, 50, 5750), busy(1, 2, 2, 4230)]
    assert fit(loads).cost == pytest.approx({"jobs": 4000, "tokens": 115})


def test_nothing_costs_less_than_nothing() -> None:
    assert min(fit([busy(0, 1, 1, 100), busy(0, 1, 100, 60), busy(1, 1, 1, 90)]).cost.values()) >= 0


def test_a_disturbed_round_counts_only_where_there_is_no_other() -> None:
    calm_half, busy_half, busy_jobs = second("half"), second("half", 2), second("jobs", 2)
    disturbed = [replace(load, waited=0.2) for load in (busy_half, busy_jobs)]
    assert calm([disturbed[0], calm_half, disturbed[1]]) == [calm_half, disturbed[1]]


def test_a_result_is_read_as_loads_of_whole_and_half_jobs() -> None:
    row = {"server": "a2-memory", "pace_ms": 20.0, "busy": 0.5, "waited": 0.0, "cpu_us": 100.0}
    row["tokens_s"] = 5000.0
    rows = [
        row | {"streams": 50},
        row | {"streams": 25, "mixed": True},
        row | {"streams": 500, "busy": 0.99},
        row | {"streams": 50, "pace_ms": 0.0},
        row | {"streams": 50, "server": "naive"},
    ]
    figures = {
        "round_cpu_ms a2-memory": [4.0, 5.0, 9.0],
        "round_ms a2-memory": [5.0],
        "round_cpu_ms naive": [9.0],
        "long_cpu_us 500": [110.0],
        "readers_cpu_us 100": [2600.0],
        "peak": [9000.0],
    }
    assert of_result({"rows": rows, "figures": figures}) == {
        "a2-memory": [
            Seen("50 streams", 0, 1, 1, 0.0002, 100.0),
            Seen("25 streams as in life", 1 / 225, 1, 1, 0.0002, 100.0),
            Seen("a job of 2 tokens", 1, 2, 2, 0.005, 5000.0),
            Seen("a job of 500 tokens", 1, 500, 500, 0.1, 55000.0),
            Seen("100 readers of a job", 0, 1, 100, 0.02, 2600.0),
        ]
    }


def test_a_fleet_is_read_by_process() -> None:
    load = {
        "says": "x",
        "seconds": 2,
        "jobs": 0,
        "tokens": 10,
        "copies": 10,
        "cpu_us": {"gateway": 0.5e6, "worker": 1.95e6, "postgres": 0.0},
        "waited": {"gateway": 0.25, "worker": 0.0, "postgres": 0.0},
    }
    found = Seen("x", 0, 10, 10, 2, 0.5e6, waited=0.25)
    assert of_fleet({"loads": [load]}) == {"gateway": [found]}


def test_the_table_names_the_worst_load() -> None:
    odd = replace(second("half", 1.5), says="the odd one")
    assert "| the odd one |" in models_table({"worker": [*map(second, LOADS), odd]})


def test_ten_times_the_streams_cost_ten_times_the_cores() -> None:
    assert cores(KNOWN, 1000) == pytest.approx(10 * cores(KNOWN, 100))
    assert cores(Model({"copies": 1.0}), 1) == pytest.approx(TOKENS_S * READERS / 1e6)


def test_a_fleet_is_planned_with_room_left() -> None:
    spare = {"seconds": 1e5}
    just_full = Model({"tokens": (BUSY - 0.1) * 1e6 / (1000 * TOKENS_S)} | spare)
    figures = dict.fromkeys(("redis_token", "worker_job", "gateway_job", "gateway_reader"), 1024.0)
    planned = capacity({"worker": just_full}, figures)
    assert "| worker: one carries 1,000 | 1 | 1 | 10 | 100 |" in planned


def test_only_what_is_between_the_marks_is_renewed() -> None:
    page = "a\n<!-- fleet -->\nold\n<!-- /fleet -->\nb\n"
    new = renew(page, {"fleet": "new", "unknown": "x"})
    assert new == "a\n<!-- fleet -->\n\nnew\n\n<!-- /fleet -->\nb\n"
    assert renew(new, {"fleet": "new"}) == new
