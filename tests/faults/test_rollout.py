"""The share of one process: from its file, its provider, and its environment, over restarts."""

import json
from pathlib import Path

import pytest

from sluice.domain.chat import now
from sluice.domain.rollout import Share
from sluice.domain.share_change import ShareChange
from sluice.infrastructure.flags.sqlite_changes import SqliteShareChanges
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.offline_model import OfflineModel
from tests.live.service import serving

ROLLOUT = "/api/v1/rollout"


async def test_a_share_that_was_set_outlives_a_kill(tmp_path: Path) -> None:
    settings = {"SLUICE_STORE": f"sqlite:///{tmp_path}/a.db", "ENABLE_TOKEN_STREAMING": "5%"}
    async with serving(tmp_path, **settings) as service:
        url = f"{service.url}{ROLLOUT}"
        set_to = await service.client.put(url, json={"share": 100}, headers={"If-Match": '"0"'})
        assert set_to.status_code == 200
        await service.kill()
        await service.start()
        asked = await service.ask("Why?")
        flag = (await service.job(asked["job_id"]))["flag"]
        assert (asked["path"], flag["share"], flag["reason"]) == ("A2", 100, "control")


async def test_a_job_that_was_killed_in_between_has_one_outcome(tmp_path: Path) -> None:
    settings = {"SLUICE_STORE": f"sqlite:///{tmp_path}/a.db", "ENABLE_TOKEN_STREAMING": "100%"}
    async with OfflineModel(pace=0.02) as model:
        address = {"OPENAI_BASE_URL": model.base_url, "OPENAI_MODEL": "m", "OPENAI_API_KEY": "k"}
        async with serving(tmp_path, **settings, **address) as service:
            asked = await service.ask("Why?")
            async with service.stream(asked["job_id"]) as stream:
                await anext(event async for event in stream if event.event == "token")
            await service.kill()
            await service.start()
            async with service.stream(asked["job_id"]) as stream:
                await stream.all(20)
            exported = await service.client.get(f"{service.url}{ROLLOUT}/outcomes")
            (outcome,) = map(json.loads, exported.text.splitlines())
            assert (outcome["job_id"], outcome["attempts"]) == (asked["job_id"], 2)


async def test_off_in_the_environment_wins_over_a_share_that_was_set(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "a.db")
    await database.open()
    await SqliteShareChanges(database).append(ShareChange(1, now(), "ann", 0, 100, None, "rollout"))
    await database.aclose()
    settings = {"SLUICE_STORE": f"sqlite:///{tmp_path}/a.db", "ENABLE_TOKEN_STREAMING": "false"}
    async with serving(tmp_path, **settings) as service:
        asked = await service.ask("Why?")
        flag = (await service.job(asked["job_id"]))["flag"]
        assert (asked["path"], flag["reason"], flag["source"]) == ("A1", "static", "env")


async def test_a_provider_that_is_named_decides_from_the_first_job_on(tmp_path: Path) -> None:
    pytest.importorskip("openfeature.contrib.provider.flagd", reason="the extra `flags`")
    flag = {"state": "ENABLED", "variants": {"now": 50}, "defaultVariant": "now"}
    path = tmp_path / "flags.json"
    path.write_text(json.dumps({"flags": {"sluice_token_streaming_percent": flag}}))
    settings = {
        "SLUICE_STORE": "memory://",
        "ENABLE_TOKEN_STREAMING": "0%",
        "SLUICE_FLAG_PROVIDER": f"flagd://{path}",
    }
    async with serving(tmp_path, **settings) as service:
        for _ in range(6):
            asked = await service.ask("Why?")
            drawn = "A2" if Share(50).holds(asked["chat_id"]) else "A1"
            assert asked["path"] == drawn
            told = (await service.job(asked["job_id"]))["flag"]
            assert told == {"share": 50, "reason": "split", "source": "flagd", "rollout": None}
