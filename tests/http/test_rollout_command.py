"""`sluice rollout` against the service, as an operator types it."""

import asyncio
import json
import re
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
