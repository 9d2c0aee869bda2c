"""`sluice rollout` against the service, as an operator types it."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sluice.domain.rollout import Share
from sluice.interfaces.cli import app
from sluice.interfaces.http.auth.identity import TrustedHeader
from tests.http.house import DONE, House, serving
from tests.http.who import LOOPBACK, bearer, by_secret

pytestmark = pytest.mark.usefixtures("no_settings")


async def typed(house: House, *words: str, **options: Any) -> Result:
    arguments = ["rollout", *words, "--url", house.url]
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, **options)


async def said(house: House, *words: str, **options: Any) -> str:
    result = await typed(house, *words, **options)
    assert result.exit_code == 0, result.output
    return result.output


async def test_an_operator_looks_turns_the_share_and_gives_it_back() -> None:
    async with serving(DONE, share=Share(5), admins=None) as house:
        assert await said(house, "status") == "5 % of users take A2, set by the environment\n"
        turned = "25.5 % of users take A2, set by an operator (environment: 5%)\n"
        assert await said(house, "set", "25.5%", "--why", "a step") == turned
        assert await said(house, "status") == turned
        cleared = "5 % of users take A2, set by the environment\n"
        assert await said(house, "clear") == cleared
        lines = (await said(house, "history")).splitlines()
        told = [re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "WHEN", line) for line in lines]
        assert told == [
            "2  WHEN  anonymous  25.5 % -> given back",
            "1  WHEN  anonymous  5 % -> 25.5 %  a step",
        ]


PLAN = """
[[steps]]
share = 5
seconds = 60
users = 10
[[steps]]
share = 50
[limits]
ratio = "any"
late_seconds = 30
"""


async def test_a_plan_is_started_from_a_file_and_told_what_to_do(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN)
    async with serving(DONE, share=Share(0), admins=None) as house:
        share = "5 % of users take A2, set by a plan (environment: 0%)"
        started = await said(house, "start", str(plan), "--why", "at last")
        assert started == f"{share}\nplan 5% 50%: runs\n"
        assert "is held" in await said(house, "hold")
        assert "runs" in await said(house, "resume")
        again = await typed(house, "start", str(plan))
        assert (again.exit_code, again.output) == (
            1,
            "sluice: a plan runs already: stop it first\n",
        )
        await house.asked()
        status = (await said(house, "status")).splitlines()
        assert status[:2] == [share, "plan 5% 50%: runs"]
        assert "1 jobs of 1 users: failed 0 (0.0% to 79.3%), late 0" in status[2]
        assert "was stopped" in await said(house, "stop")
        assert "at last" in await said(house, "history")


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ("", "steps: lists at least one step"),
        ("steps = 5", "steps: lists at least one step"),
        ("[[steps]]\nshare = 0", "steps[0].share: is above 0"),
        ("[[steps]]\nshares = 1", "steps[0].shares: is not known"),
        ("[[steps]]\nshare = 1\nusers = -1", "steps[0].users: is a number of users"),
        ("[[steps]]\nshare = 1\n[limits]\nmargin = 1", "limits.margin: is a number from 0 to 0.24"),
        ("[[steps]]\nshare = 1\n[limits]\nalfa = 1", "limits.alfa: is not known"),
        (
            "[[steps]]\nshare = 1\n[limits.weights]\nfailed = 0.9\nleft = 0.2",
            "limits.weights: the weights are not negative, and sum up to 1 at most",
        ),
        ("[[steps]]\nshare = 1\n[limits.weights]\nnone = 1", "limits.weights.none: is not known"),
        ("steps", "Expected '=' after a key"),
    ],
)
async def test_a_plan_with_a_mistake_is_refused_by_its_field_before_anybody_is_asked(
    tmp_path: Path, plan: str, told: str
) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(plan)
    arguments = ["rollout", "start", str(path), "--url", "http://127.0.0.1:1"]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert result.exit_code == 1
    assert result.output.startswith(f"sluice: {path}: {told}")


async def test_a_plan_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    arguments = ["rollout", "start", str(tmp_path / "none.toml"), "--url", "http://127.0.0.1:1"]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert result.output == f"sluice: {tmp_path}/none.toml: No such file or directory\n"


async def test_outcomes_are_printed_as_the_service_exports_them() -> None:
    async with serving(DONE, share=Share(5), admins=None) as house:
        job = await house.asked()
        (line,) = (await said(house, "export")).splitlines()
        assert json.loads(line)["job_id"] == job
        header, row = (await said(house, "export", "--format", "csv")).splitlines()
        assert header.startswith("job_id,")
        assert row.startswith(f"{job},")
        refused = await typed(house, "export", "--format", "xml")
        assert refused.exit_code == 1
        assert "format" in refused.output


@pytest.mark.parametrize("share", ["101%", "-1%", "many", "nan%", "true", ""])
async def test_what_is_no_share_is_refused_before_anybody_is_asked(share: str) -> None:
    arguments = ["rollout", "set", "--url", "http://127.0.0.1:1", "--", share]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert (result.exit_code, result.output) == (
        1,
        f"sluice: {share} is no share from 0% to 100%\n",
    )


async def test_who_is_no_admin_is_told_where_they_are_named() -> None:
    async with serving(DONE, identity=TrustedHeader(LOOPBACK), admins={"ann"}) as house:
        refused = await typed(house, "status", "--user", "bob")
        assert refused.exit_code == 1
        assert "SLUICE_ADMINS" in refused.output
        assert "0 % of users" in await said(house, "status", "--user", "ann")


async def test_a_token_in_the_environment_says_who_it_is() -> None:
    async with serving(DONE, identity=by_secret(), admins={"ann"}) as house:
        token = bearer()["Authorization"].removeprefix("Bearer ")
        assert "0 % of users" in await said(house, "status", env={"SLUICE_TOKEN": token})
        refused = await typed(house, "status")
        assert refused.exit_code == 1


async def test_the_environments_on_and_off_are_told_as_what_decides() -> None:
    async with serving(DONE, share=Share.parse("true"), admins=None) as house:
        refused = await typed(house, "set", "5%")
        assert refused.exit_code == 1
        assert "ENABLE_TOKEN_STREAMING" in refused.output


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "http://[::1"])
async def test_a_service_that_is_not_there_is_told_in_one_line(url: str) -> None:
    arguments = ["rollout", "status", "--url", url]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert result.exit_code == 1
    assert result.output.startswith("sluice: ")
    assert len(result.output.splitlines()) == 1


async def test_the_service_of_this_environment_is_asked_whatever_else_is_wrong_in_it() -> None:
    async with serving(DONE, share=Share(5), admins=None) as house:
        for where in ({"SLUICE_URL": house.url}, {"SLUICE_PORT": str(house.port)}):
            env = {"OPENAI_API_KEY": "and no OPENAI_MODEL", **where}
            arguments = ["rollout", "status"]
            told = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=env)
            assert told.output == "5 % of users take A2, set by the environment\n"
