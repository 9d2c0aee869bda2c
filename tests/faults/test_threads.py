"""Threads of users' graphs: they keep neither the process from leaving nor others from going on."""

import asyncio
import json
import signal
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sluice.offline_model import OfflineModel, Reply
from tests.faults.busy_graph import STARTED, WAYS
from tests.faults.conftest import Start
from tests.faults.test_cancel import says
from tests.http.house import text
from tests.http.who import SECRET, bearer
from tests.live.cluster import clustered
from tests.live.service import Service
from tests.services import PostgresServer, RedisServer

GRAPHS = "tests.faults.busy_graph"
GRACE, AFTER_GRACE = 1, 5


@pytest.mark.parametrize("store", ["memory://", None])
@pytest.mark.parametrize("way", [way for way in WAYS if way != "every_thread"])
async def test_a_busy_thread_does_not_keep_the_process(
    start: Start, way: str, store: str | None
) -> None:
    given = {"SLUICE_STORE": store} if store else {}
    live = await start(SLUICE_PIPELINE=f"{GRAPHS}:build", SLUICE_SHUTDOWN_GRACE=str(GRACE), **given)
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
        ends = [frame.event for frame in stream.seen if frame.event != "stage"]
        if (
            way == "refuses_to_stop" and store is not None
        ):  # what is sooner, its end or the stream's
            assert ends in ([], ["cancelled"])
        else:
            assert ends == ([] if store is None else ["cancelled"])


async def test_threads_have_their_grace(start: Start) -> None:
    """What still runs of a job that is over may end within it, and the process waits for that."""
    live = await start(SLUICE_PIPELINE=f"{GRAPHS}:leaves_work")
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
        {"SLUICE_PIPELINE": f"{GRAPHS}:wrong", "SLUICE_STORE": "memory://"},
    )
    with pytest.raises(AssertionError):
        await process.start()
    assert await process.gone(within=8) == 2
    assert "SLUICE_PIPELINE" in process.log.read_text()
    await process.aclose()
    assert live.service.lives


@pytest.mark.parametrize("path", ["A1", "A2"])
async def test_sleeping_synchronous_nodes_delay_no_other_job(start: Start, path: str) -> None:
    """Not even one whose router, being synchronous, needs a thread like theirs."""
    live = await start(path, SLUICE_PIPELINE=f"{GRAPHS}:build")
    says(live, "hi", Reply(["hello ", "you"]))
    for _ in range(40):
        await live.service.ask("synchronous")
    for _ in range(40):
        await live.service.says(STARTED)
    async with live.service.stream((await live.service.ask("hi"))["job_id"]) as stream:
        seen = await stream.all(5)
    assert seen[-1].data["answer"] == "hello you"
    assert text(seen) == ("hello you" if path == "A2" else "")


@pytest.mark.parametrize("path", ["A1", "A2"])
async def test_while_every_thread_of_users_sleeps_all_of_ours_goes_on(
    start: Start, tmp_path: Path, path: str
) -> None:
    """Pages, the first sign-in by a key set, a first call to a model that has to be looked up."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [public | {"kid": "one", "alg": "ES256"}]}))
    async with OfflineModel(pace=0) as model:
        live = await start(
            path,
            SLUICE_PIPELINE=f"{GRAPHS}:without_threads",
            OPENAI_BASE_URL=model.base_url.replace("127.0.0.1", "localhost"),
            SLUICE_MAX_RUNNING="4",
            SLUICE_AUTH="jwt",
            SLUICE_JWT_SECRET=SECRET,
            SLUICE_JWT_JWKS=str(keys),
        )
        service = live.service
        await service.ask("every_thread", **bearer())
        for _ in range(4 + 32 + 40):
            await service.says(STARTED)
        signed_in = bearer(key, "ES256", "one")
        async with asyncio.timeout(5):
            for page in ("/", "/assets/app.js", "/docs", "/readyz", "/metrics", "/api/v1/chat"):
                answer = await service.client.get(service.url + page, headers=signed_in)
                assert answer.status_code == 200
            job = (await service.ask("hi", **signed_in))["job_id"]
            async with service.stream(job, headers=signed_in) as stream:
                assert (await stream.all())[-1].event == "done"
        await service.kill()


@pytest.mark.timeout(120)
async def test_a_worker_with_a_busy_thread_or_a_blocked_loop_leaves_and_so_does_a_gateway(
    tmp_path: Path, own_redis: RedisServer, own_postgres: PostgresServer
) -> None:
    async with (
        OfflineModel(pace=0) as model,
        clustered(
            tmp_path,
            model,
            own_redis,
            own_postgres,
            workers=1,
            SLUICE_SHUTDOWN_GRACE=str(GRACE),
            SLUICE_PIPELINE=f"{GRAPHS}:build",
        ) as cluster,
    ):
        (worker,), (gateway, _) = cluster.workers, cluster.gateways
        for way in ("synchronous", "blocked_loop"):
            job = (await gateway.ask(way))["job_id"]
            await worker.says(STARTED)
            async with gateway.stream(job) as stream:
                await stream.until("stage")
                worker.tell(signal.SIGTERM)
                assert await worker.gone(within=GRACE + AFTER_GRACE) == 0
                await gateway.cancel(job)
            if way == "synchronous":
                await worker.start()
        gateway.tell(signal.SIGTERM)
        assert await gateway.gone(within=GRACE + AFTER_GRACE) == 0
