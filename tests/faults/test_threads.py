"""Threads of users' graphs: they keep neither the process from leaving nor others from going on."""

import asyncio
import json
import signal
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sluice.offline_model import Reply
from tests.faults.busy_graph import STARTED, WAYS
from tests.faults.conftest import Start
from tests.faults.test_cancel import says
from tests.http.house import text
from tests.live.service import Service

BUSY = "tests.faults.busy_graph:build"
GRACE, AFTER_GRACE = 1, 5


async def get(service: Service, path: str, **headers: str) -> int:
    return (await service.client.get(service.url + path, headers=headers)).status_code


@pytest.mark.parametrize("store", ["memory://", None])
@pytest.mark.parametrize("way", WAYS)
async def test_a_busy_thread_does_not_keep_the_process(
    start: Start, way: str, store: str | None
) -> None:
    given = {"SLUICE_STORE": store} if store else {}
    live = await start(SLUICE_PIPELINE=BUSY, SLUICE_SHUTDOWN_GRACE=str(GRACE), **given)
    job = (await live.service.ask(way))["job_id"]
    await live.service.says(STARTED)
    if way == "blocked_loop":
        live.service.tell(signal.SIGTERM)
        assert await live.service.gone(within=GRACE + AFTER_GRACE) == 0
        return
    async with live.service.stream(job) as stream:
        await stream.until("stage")
        live.service.tell(signal.SIGTERM)
        assert await live.service.gone(within=GRACE + AFTER_GRACE) == 0
        await stream.all()
        if way == "pool_in_a_with":
            return
        assert stream.properly
        ends = [] if store is None else ["cancelled"]
        assert [frame.event for frame in stream.seen if frame.event != "stage"] == ends


async def test_threads_have_their_grace(start: Start) -> None:
    """What still runs of a job that is over may end within it, and the process waits for that."""
    live = await start(SLUICE_PIPELINE="tests.faults.busy_graph:leaves_work")
    await live.service.ask("x")
    await live.service.says("left")
    await live.service.idle()
    live.service.tell(signal.SIGTERM)
    await live.service.says("written")
    assert await live.service.gone(within=10) == 0


async def test_a_wrong_setting_exits_though_the_module_left_a_thread(
    start: Start, tmp_path: Path
) -> None:
    """Which never ends, and is no daemon."""
    live = await start(folder=tmp_path)
    process = Service(
        tmp_path / "wrong.log",
        {"SLUICE_PIPELINE": "tests.faults.busy_graph:wrong", "SLUICE_STORE": "memory://"},
    )
    with pytest.raises(AssertionError):
        await process.start()
    assert await process.gone(within=8) == 2
    assert "SLUICE_PIPELINE" in process.log.read_text()
    await process.aclose()
    assert live.service.lives


@pytest.mark.parametrize("path", ["A1", "A2"])
async def test_while_all_threads_of_users_sleep_everything_of_ours_goes_on(
    start: Start, tmp_path: Path, path: str
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [public | {"kid": "first", "alg": "ES256"}]}))
    live = await start(
        path,
        SLUICE_PIPELINE=BUSY,
        SLUICE_MAX_RUNNING="50",
        SLUICE_USER_RUNNING="50",
        SLUICE_USER_QUEUED="50",
        SLUICE_AUTH="jwt",
        SLUICE_JWT_JWKS=str(keys),
    )
    service = live.service

    def bearer(kid: str) -> str:
        return "Bearer " + jwt.encode({"sub": "ann"}, key, "ES256", headers={"kid": kid})

    service.client.headers["Authorization"] = bearer("first")
    says(live, "hi", Reply(["hello ", "you"]))
    for _ in range(40):
        await service.ask("synchronous")
    for _ in range(40):
        await service.says(STARTED)
    async with asyncio.timeout(5):
        for page in ("/", "/assets/app.js", "/docs", "/readyz", "/metrics"):
            assert await get(service, page) == 200
        keys.write_text(json.dumps({"keys": [public | {"kid": "second", "alg": "ES256"}]}))
        job = (await service.ask("hi"))["job_id"]
        headers = {"Authorization": bearer("first")}
        async with service.stream(job, headers=headers) as stream:
            seen = await stream.all()
        assert seen[-1].data["answer"] == "hello you"
        assert text(seen) == ("hello you" if path == "A2" else "")
