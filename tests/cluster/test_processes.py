"""Gateways and workers are killed, frozen, told to leave; their stores go and come back."""

import asyncio
import re
import signal

import pytest
from redis import Redis

from sluice.offline_model import Break, Gate, Reply
from tests.cluster.conftest import ANSWER, WORDS, assert_whole, ids, read
from tests.live.cluster import Cluster
from tests.waiting import until

pytestmark = pytest.mark.timeout(120)

FOUND_WITHIN = 15
"""Seconds after which a dead worker's job goes on."""


async def test_any_gateway_serves_any_job_live_and_late(cluster: Cluster) -> None:
    one, other = cluster.gateways
    cluster.says("any", Reply(WORDS, pace=0.005))
    job = (await one.ask("any"))["job_id"]
    here, there = await asyncio.gather(read(one, job), read(other, job))
    late = await read(other, job)
    for seen in (here, there, late):
        assert_whole(seen)
    assert here[-1] == there[-1] == late[-1]
    assert (await other.job(job))["answer"] == ANSWER


async def test_a_worker_counts_what_it_ran(cluster: Cluster) -> None:
    cluster.says("counted", Reply(WORDS, pace=0))
    before = await _ended(cluster)
    job = (await cluster.gateways[0].ask("counted"))["job_id"]
    assert_whole(await read(cluster.gateways[0], job))
    assert await _ended(cluster) == before + 1
    for worker in cluster.workers:
        assert (await worker.metrics())["sluice_jobs_running"] == 0


async def test_every_gateway_tells_how_many_jobs_run_now(cluster: Cluster) -> None:
    """Also when nobody asks it whether it is ready."""
    gate = Gate()
    cluster.says("long", Reply(WORDS, hold_after=3, gate=gate))
    job = (await cluster.gateways[0].ask("long"))["job_id"]
    await gate.reached()
    for gateway in cluster.gateways:
        assert (await gateway.metrics())["sluice_jobs_running"] == 1
    gate.release()
    assert_whole(await read(cluster.gateways[1], job))
    for gateway in cluster.gateways:
        await gateway.idle()


async def _ended(cluster: Cluster) -> float:
    """Jobs that all workers together have completed."""
    name = 'sluice_jobs_ended_total{path="A2",status="completed"}'
    return sum([(await worker.metrics()).get(name, 0) for worker in cluster.workers])


async def test_a_killed_workers_job_goes_on_at_another(cluster: Cluster) -> None:
    one, other = cluster.gateways
    cluster.says("killed", Reply(WORDS, pace=0.02))
    job = (await one.ask("killed"))["job_id"]
    async with other.stream(job) as stream:
        await stream.until("token", count=5)
        worker = await cluster.worker_of(job)
        worker.tell(signal.SIGKILL)
        await stream.until("reset", within=FOUND_WITHIN)
        await stream.all()
    assert_whole(stream.seen, attempts=2)
    assert_whole(await read(one, job), attempts=2)


async def test_a_frozen_worker_that_wakes_up_is_fenced_off(cluster: Cluster) -> None:
    one, other = cluster.gateways
    cluster.says("frozen", Reply(WORDS, pace=0.02))
    job = (await one.ask("frozen"))["job_id"]
    async with other.stream(job) as stream:
        await stream.until("token", count=5)
        worker = await cluster.worker_of(job)
        worker.tell(signal.SIGSTOP)
        try:
            await stream.until("reset", within=FOUND_WITHIN)
        finally:
            worker.tell(signal.SIGCONT)
        await stream.all()
    assert_whole(stream.seen, attempts=2)
    # Its lease or its log tells it, whichever answers first.
    told = re.compile(rf"job {job} is (another worker's now|handed back)")
    await until(lambda: told.search(worker.log.read_text()))
    await cluster.model.until_idle()
    assert_whole(await read(one, job), attempts=2)


async def test_a_worker_that_is_told_to_leave_hands_its_jobs_back_at_once(
    cluster: Cluster,
) -> None:
    one, other = cluster.gateways
    cluster.says("leaving", Reply(WORDS, pace=0.02))
    job = (await one.ask("leaving"))["job_id"]
    async with other.stream(job) as stream:
        await stream.until("token", count=5)
        worker = await cluster.worker_of(job)
        worker.tell(signal.SIGTERM)
        await stream.until("reset", within=5)
        await stream.all()
    assert_whole(stream.seen, attempts=2)
    assert await worker.gone(within=10) == 0


async def test_a_job_whose_workers_leave_one_after_the_other_is_no_lost_job(
    cluster: Cluster,
) -> None:
    """A rolling restart is planned: it may cost a job time, not its answer."""
    one, other = cluster.gateways
    gate = Gate()
    cluster.says("rolling workers", Reply([*WORDS[:10], gate, *WORDS[10:]]))
    job = (await one.ask("rolling workers"))["job_id"]
    async with other.stream(job) as stream:
        for _ in range(3):
            await stream.until("token")
            await until(lambda: any(w.lives and job in w.jobs() for w in cluster.workers))
            worker = next(w for w in cluster.workers if w.lives and job in w.jobs())
            worker.tell(signal.SIGTERM)
            assert await worker.gone() == 0
            await worker.start()
            await stream.until("reset", within=5)
        gate.release()
        await stream.all(30)
    assert_whole(stream.seen, attempts=4)


async def test_a_job_is_cancelled_across_processes_mid_hang(cluster: Cluster) -> None:
    one, other = cluster.gateways
    cluster.says("hangs", Reply([*WORDS[:3], Break.HANG]))
    job = (await one.ask("hangs"))["job_id"]
    async with one.stream(job) as stream:
        await stream.until("token")
        assert await other.cancel(job) == 202
        assert await other.cancel(job) == 202
        await stream.all(5)
    assert stream.end is not None
    assert stream.end.data == {"status": "cancelled", "reason": "user"}
    await cluster.model.until_idle(within=1)


async def test_a_waiting_job_is_cancelled_before_it_runs(cluster: Cluster) -> None:
    one, other = cluster.gateways
    gate = Gate()
    cluster.says("first", Reply([gate, *WORDS]))
    first = (await one.ask("first", "same chat"))["job_id"]
    second = (await other.ask("second", "same chat"))["job_id"]
    calls = cluster.model.opened
    assert await one.cancel(second) == 202
    seen = await read(other, second)
    assert [frame.event for frame in seen] == ["stage", "cancelled"]
    gate.release()
    assert_whole(await read(other, first))
    assert cluster.model.opened <= calls + 2  # the first one's own


async def test_a_leaving_gateway_ends_its_streams_and_loses_nothing(cluster: Cluster) -> None:
    one, other = cluster.gateways
    cluster.says("rolling", Reply(WORDS, pace=0.01))
    job = (await one.ask("rolling"))["job_id"]
    async with other.stream(job) as stream:
        await stream.until("token", count=5)
        other.tell(signal.SIGTERM)
        await stream.all(5)
    assert stream.properly
    assert stream.retries
    rest = await read(one, job, stream.seen[-1].id)
    assert_whole([*stream.seen, *rest])
    assert await other.gone(within=5) == 0
    await other.start()


async def test_without_a_worker_no_gateway_is_ready(cluster: Cluster) -> None:
    for worker in cluster.workers:
        worker.tell(signal.SIGTERM)
        assert await worker.gone() == 0
    for gateway in cluster.gateways:
        await cluster.ready(gateway, "no worker is alive")
    job = (await cluster.gateways[0].ask("waits"))["job_id"]
    await cluster.whole()
    assert (await read(cluster.gateways[1], job))[-1].event == "done"


async def test_a_frozen_redis_is_told_and_waited_for(cluster: Cluster) -> None:
    one, other = cluster.gateways
    cluster.says("through", Reply(WORDS, pace=0.01))
    job = (await one.ask("through"))["job_id"]
    async with other.stream(job) as stream:
        await stream.until("token", count=5)
        with cluster.redis.frozen():
            refused = await one.client.post(f"{one.url}/api/v1/chat", json={"message": "now?"})
            assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
            await cluster.ready(other, "Redis cannot be reached")
        await stream.all()
    assert_whole(stream.seen, attempts=ids(stream.seen)[-1][0])
    await cluster.ready(one)


async def test_cut_connections_cost_no_job_an_attempt(cluster: Cluster) -> None:
    one, other = cluster.gateways
    cluster.says("cut", Reply(WORDS, pace=0.02))
    jobs = [(await one.ask("cut"))["job_id"] for _ in range(5)]
    reading = [asyncio.create_task(read(other, job)) for job in jobs]
    with Redis.from_url(cluster.redis.url) as admin:
        while not all(reader.done() for reader in reading):
            for kind in ("normal", "pubsub"):
                admin.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            await asyncio.wait(reading, timeout=0.5)
    for reader in reading:
        assert_whole(reader.result())


@pytest.mark.parametrize("seconds", [0.7, 1, 3])
async def test_an_emptied_redis_is_used_again_without_a_restart(
    cluster: Cluster, seconds: float
) -> None:
    """Leases are looked at twice a second; workers try again in vain, several times."""
    one, other = cluster.gateways
    cluster.says("lost", Reply(WORDS, pace=0.02))
    job = (await one.ask("lost"))["job_id"]
    async with other.stream(job) as stream:
        await stream.until("token", count=5)
        cluster.redis.stop()
        await cluster.ready(one, "Redis cannot be reached")
        await asyncio.sleep(seconds)
        cluster.redis.start()
    async with asyncio.timeout(15):  # until its worker has told of it, nobody knows of the job
        while (await one.client.get(f"{one.url}/api/v1/jobs/{job}")).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    end = (await read(one, job))[-1]
    assert (end.event, end.data["code"]) == ("error", "stream_lost")
    for gateway in cluster.gateways:
        await cluster.ready(gateway)
    cluster.says("again", Reply(WORDS))
    assert_whole(await read(one, (await other.ask("again"))["job_id"]))


async def test_postgres_may_go_and_come_back(cluster: Cluster) -> None:
    one, _ = cluster.gateways
    cluster.postgres.stop()
    try:
        await cluster.ready(one, "PostgreSQL cannot be reached")
        refused = await one.client.post(f"{one.url}/api/v1/chat", json={"message": "now?"})
        assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
    finally:
        cluster.postgres.start()
    await cluster.ready(one)
    cluster.says("back", Reply(WORDS))
    assert_whole(await read(one, (await one.ask("back"))["job_id"]))
