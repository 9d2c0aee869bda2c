"""What docs/reports/guard.md is written from: a small part of it, with other numbers."""

import pytest

np = pytest.importorskip("numpy", reason="the extra `report`")

from docs.reports import guard_replay  # noqa: E402


def test_a_replay_has_the_guards_own_evidence() -> None:
    record = guard_replay.Record.read()
    p = guard_replay.ramp(record.jobs, 5, 25)
    drawn = np.random.default_rng(1).random((2, record.users))
    assert guard_replay.agrees(record, p, drawn) < 1e-9


def test_rollouts_of_recorded_outcomes_hardly_ever_step_back_without_a_cause() -> None:
    record = guard_replay.Record.read()
    p = guard_replay.ramp(record.jobs, 1, 25, 5, 50)
    drawn = np.random.default_rng(1).random((400, record.users))
    assert guard_replay.stepped_back(guard_replay.highest(record, p, drawn)).mean() <= 0.05
    assert guard_replay.naive(record, p, drawn).mean() > 0.2


def test_a_worse_a2_is_found_sooner_the_worse_it_is() -> None:
    took = [np.median(guard_replay.delays(25, ratio, 0.03, 50, 1)) for ratio in (2, 5)]
    assert took[1] < took[0] < np.inf
