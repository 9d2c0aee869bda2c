"""Shadows of a real process: what an operator sees, how they end with it, and who may have them."""

import asyncio
import signal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluice.interfaces.cli import app
from sluice.offline_model import Gate, Reply
from tests.faults.conftest import Start
from tests.http.house import text
from tests.live.process import AS_USERS_DO
from tests.live.service import Service
from tests.live.shadowed import CANARY, says_apart, shadows, shadows_when

ALL = {"SLUICE_SHADOW": "100%"}


@pytest.mark.parametrize(("path", "other"), [("A1", "A2"), ("A2", "A1")])
async def test_an_operator_sees_what_the_other_path_would_have_said_and_nobody_reads_it(
    start: Start, path: str, other: str
) -> None:
    live = await start(path, SLUICE_SHADOW="100%", SLUICE_SHADOW_BUDGET="500000")
    service = live.service
    says_apart(live.model, "Why?", Reply(["so ", "it is"]), Reply([CANARY, " is else"]))
    jobs = []
    for n, message in enumerate(["Why?", "How do I resume a stream?"], 1):
        jobs.append((await service.ask(message))["job_id"])
        async with service.stream(jobs[-1]) as stream:
            seen = await stream.all()
        assert seen[-1].event == "done"
        shown = await shadows_when(service, "runs", n)
    assert (shown["same_text"]["count"], shown["same_stages"]["count"], shown["runs"]) == (1, 2, 2)
    assert (shown["share"], shown["budget"], shown["skipped"]) == (100, 500_000, {})
    assert shown["spent"] == sum(
        shown["paths"][other][f"{kind}_tokens"] for kind in ("input", "output")
    )
    assert shown["paths"]["A1"]["first_token"] is None
    assert shown["paths"]["A2"]["first_token"]["value"] > 0
    told = await asyncio.to_thread(
        CliRunner().invoke, app, ["rollout", "status", "--url", service.url]
    )
    assert "shadow of 100 % of jobs: 2 runs: same text 1 of 2, same stages 2 of 2;" in told.output
    assert f"  {other}: failed 0 (0.0% to " in told.output
    metrics = await service.metrics()
    assert metrics[f'sluice_shadow_runs_total{{path="{other}",result="same"}}'] == 1
    assert metrics[f'sluice_shadow_runs_total{{path="{other}",result="different"}}'] == 1
    assert metrics["sluice_shadow_tokens_total"] == shown["spent"]
    assert metrics[f'sluice_jobs_ended_total{{path="{path}",status="completed"}}'] == 2
    assert f'sluice_jobs_ended_total{{path="{other}",status="completed"}}' not in metrics
    async with service.stream(jobs[0]) as stream:
        assert CANARY not in text(await stream.all())
    assert CANARY not in service.life
    await live.leaves_nothing()


async def test_a_shadow_keeps_no_process_from_leaving_and_does_not_begin_again(
    start: Start,
) -> None:
    live = await start("A1", **ALL)
    service, gate = live.service, Gate()
    says_apart(live.model, "Why?", Reply(["so"]), Reply([CANARY, "x"], hold_after=1, gate=gate))
    await service.told("Why?")
    await gate.reached()
    assert (await shadows(service))["unfinished"] == 1
    began = asyncio.get_running_loop().time()
    service.tell(signal.SIGTERM)
    assert await service.gone() == 0
    assert asyncio.get_running_loop().time() - began < 15, "half of the grace that a job has"
    await service.start()
    shown = await shadows(service)
    assert (shown["cancelled"], shown["unfinished"], shown["runs"]) == (1, 0, 0)
    assert shown["spent"] > 0


async def test_a_shadow_that_died_with_its_process_is_paid_for_and_does_not_begin_again(
    start: Start,
) -> None:
    live = await start("A2", **ALL)
    service, gate = live.service, Gate()
    says_apart(live.model, "Why?", Reply(["so"]), Reply([CANARY, "x"], hold_after=1, gate=gate))
    await service.told("Why?")
    await gate.reached()
    await service.kill()
    await service.start()
    shown = await shadows(service)
    assert (shown["cancelled"], shown["unfinished"]) == (0, 1)
    assert shown["spent"] > 0
    calls = live.model.opened
    await service.told("Why not?")
    assert (await shadows_when(service, "runs"))["unfinished"] == 1
    assert live.model.opened - calls <= 4


async def test_a_shadow_takes_no_place_that_a_user_waits_for(start: Start) -> None:
    live = await start("A1", **ALL, SLUICE_MAX_RUNNING="1", SLUICE_MAX_QUEUED="1")
    gate = Gate()
    says_apart(live.model, "Why?", Reply(["so"]), Reply(["x", "y"], hold_after=1, gate=gate))
    await live.service.told("Why?")
    await gate.reached()
    assert (await live.service.metrics())["sluice_jobs_running"] == 0
    for _ in range(3):
        assert (await live.service.told("Why not?"))[-1].name == "done"
    gate.release()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"SLUICE_PIPELINE": "tests.faults.graphs:blocking"}, 'metadata={"shadow_safe": True}'),
        ({"SLUICE_STATE": "graph"}, "SLUICE_STATE=graph"),
    ],
)
async def test_who_may_not_have_shadows_is_told_so_at_the_start(
    tmp_path: Path, settings: dict[str, str], says: str
) -> None:
    class AsUsersDo(Service):
        program = AS_USERS_DO

    given = {"SLUICE_STORE": f"sqlite:///{tmp_path}/a.db", "SLUICE_SHADOW": "1%", **settings}
    service = AsUsersDo(tmp_path / "log", given)
    with pytest.raises(AssertionError):
        await service.start()
    assert await service.gone() == 2
    lines = [line for line in service.log.read_text().splitlines() if "SLUICE_SHADOW" in line]
    assert len(lines) == 1
    assert says in lines[0]
    await service.aclose()
