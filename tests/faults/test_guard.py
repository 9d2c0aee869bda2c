"""The guard on a real process; tests/cluster/test_guard.py has it at two gateways and workers."""

from pathlib import Path

from tests.live.guarded import GRAPH, Guarded, regression
from tests.live.service import serving


async def test_a_regression_of_a2_steps_back_by_itself_and_an_ill_upstream_only_holds(
    tmp_path: Path,
) -> None:
    settings = {"SLUICE_STORE": f"sqlite:///{tmp_path}/a.db", "SLUICE_MAX_RUNNING": "32"}
    async with serving(tmp_path, **settings, **GRAPH) as service:
        guarded = Guarded([service])
        held = await regression(guarded, "both")
        assert (held["from"], held["to"], held["by"]) == (50, 50, "guard")
        await guarded.change(state="stopped")
        back = await regression(guarded, "doubled")
        assert (back["from"], back["to"], back["by"]) == (50, 0, "guard")
        assert back["verdict"]["first_bad_events"]["spoiled"]["A1"] == 0
        metrics = await service.metrics()
        assert metrics["sluice_rollout_share"] == 0
        assert metrics['sluice_guard_decisions_total{action="step_back",rule="spoiled"}'] == 1
        assert "A2 is worse in spoiled" in service.life
