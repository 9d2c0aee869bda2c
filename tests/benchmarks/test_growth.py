"""A model that is wrong plans a fleet that is wrong."""

import pytest

from benchmarks.capacity import BUSY, READERS, TOKENS_S, capacity, cores
from benchmarks.growth import Model, Seen, calm, fit, models_table, of_fleet, of_result, renew

COST = {"jobs": 4000.0, "tokens": 90.0, "copies": 25.0}


def seen(jobs: float, tokens: float, copies: float, says: str = "a load", by: float = 1) -> Seen:
    return Seen(says, jobs, tokens, copies, Model(COST).cpu_us(jobs, tokens, copies, 0) * by)


def test_costs_are_found_again() -> None:
    loads = [seen(0, 1, 1), seen(0, 1, 100), seen(1, 2, 2), seen(40, 8000, 8000)]
    assert fit(loads).cost == pytest.approx(COST)


def test_a_token_that_wakes_the_process_costs_more() -> None:
    loads = [Seen("quiet", 0, 1, 1, 200, asleep=0.9), Seen("busy", 0, 1, 1, 120, asleep=0.1)]
    assert fit(loads).cost == pytest.approx({"tokens": 110, "wakes": 100})


def test_a_little_noise_changes_little() -> None:
    loads = [seen(0, 1, 1, by=1.04), seen(0, 1, 1, by=0.96), seen(0, 1, 100), seen(1, 2, 2)]
    model = fit(loads)
    assert model.cost == pytest.approx(COST, rel=0.05)
    assert max(abs(model.error(load)) for load in loads) < 0.05


def test_the_scale_of_a_load_has_no_weight() -> None:
    moments = [seen(0, 1, 1, by=1.1), seen(0, 1, 100), seen(1, 2, 2)]
    hours = [seen(0, 1e6, 1e6, by=1.1), seen(0, 1, 100), seen(1, 2, 2)]
    assert fit(moments).cost == pytest.approx(fit(hours).cost)


def test_what_no_load_tells_apart_is_one_cost() -> None:
    model = fit([seen(0, 1, 1), seen(0, 50, 50), seen(1, 2, 2)])
    assert model.cost == pytest.approx({"jobs": 4000, "tokens": 115})


def test_nothing_costs_less_than_nothing() -> None:
    loads = [Seen("a", 0, 1, 1, 100), Seen("b", 0, 1, 100, 60), Seen("c", 1, 1, 1, 90)]
    assert min(fit(loads).cost.values()) >= 0


def test_disturbed_loads_count_only_where_there_are_no_others() -> None:
    bad = Seen("bad", 0, 1, 1, 900, disturbed=True)
    assert calm([bad, seen(0, 1, 1)]) == [seen(0, 1, 1)]
    assert calm([bad]) == [bad]


def test_a_result_is_read_as_loads_of_whole_and_half_jobs() -> None:
    row = {"server": "a2-memory", "pace_ms": 20.0, "busy": 0.5, "waited": 0.0, "cpu_us": 100.0}
    rows = [
        row | {"streams": 50},
        row | {"streams": 500, "busy": 0.99},
        row | {"streams": 1, "busy": 0.01},
        row | {"streams": 50, "pace_ms": 0.0},
        row | {"streams": 50, "server": "naive"},
    ]
    figures = {
        "round_cpu_ms a2-memory": [4.0, 5.0, 9.0],
        "round_cpu_ms naive": [9.0],
        "long_cpu_us 500": [110.0],
        "readers_cpu_us 1": [500.0],
        "readers_cpu_us 100": [2600.0],
        "peak": [9000.0],
    }
    loads = of_result({"rows": rows, "figures": figures})
    assert list(loads) == ["a2-memory"]
    found = [(load.says, load.work, load.cpu_us) for load in loads["a2-memory"]]
    assert found == [
        ("50 streams", pytest.approx((0, 1, 1, 0.5)), 100),
        ("a job of 2 tokens", (1, 2, 2, 0), 5000),
        ("a job of 500 tokens", pytest.approx((1, 500, 500, 225)), 55000),
        ("100 readers of a job", pytest.approx((0, 1, 100, 0.87)), 2600),
    ]


def test_a_fleet_is_read_by_process() -> None:
    load = {
        "says": "x",
        "seconds": 2,
        "jobs": 0,
        "tokens": 10,
        "copies": 10,
        "cpu_us": {"gateway": 0.5e6, "postgres": 0.0},
        "waited": {"gateway": 0.25, "postgres": 0.0},
    }
    found = Seen("x", 0, 10, 10, 0.5e6, asleep=0.5, disturbed=True)
    assert of_fleet({"loads": [load]}) == {"gateway": [found]}


def test_the_table_names_the_worst_load() -> None:
    loads = [seen(0, 1, 1), seen(0, 1, 1), seen(0, 1, 1, "the odd one", by=1.5)]
    assert "| the odd one |" in models_table({"worker": loads})


def test_ten_times_the_streams_cost_ten_times_the_cores() -> None:
    model = Model(COST)
    assert cores(model, 1000) == pytest.approx(10 * cores(model, 100))
    assert cores(Model({"copies": 1.0}), 1) == pytest.approx(TOKENS_S * READERS / 1e6)


def test_a_fleet_is_planned_with_room_left() -> None:
    just_full = Model({"tokens": BUSY * 1e6 / (1000 * TOKENS_S)})
    figures = dict.fromkeys(("redis_token", "worker_job", "gateway_job", "gateway_reader"), 1024.0)
    planned = capacity({"worker": just_full}, figures)
    assert "| worker: one carries 1,000 | 1 | 1 | 10 | 100 |" in planned


def test_only_what_is_between_the_marks_is_renewed() -> None:
    page = "a\n<!-- fleet -->\nold\n<!-- /fleet -->\nb\n"
    new = renew(page, {"fleet": "new", "unknown": "x"})
    assert new == "a\n<!-- fleet -->\n\nnew\n\n<!-- /fleet -->\nb\n"
    assert renew(new, {"fleet": "new"}) == new
