"""One machine's run: the service is killed, or told to leave, and started again."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from tests.chaos.clients import Clients
from tests.chaos.record import Recording
from tests.chaos.upstream import ChaosModel
from tests.live.service import Service

SETTINGS = {
    "ENABLE_TOKEN_STREAMING": "60%",
    "SLUICE_FIRST_TOKEN_TIMEOUT": "5",
    "SLUICE_IDLE_TIMEOUT": "3",
    "SLUICE_SHUTDOWN_GRACE": "1",
    "SLUICE_LOG_LEVEL": "INFO",
    "OPENAI_API_KEY": "key",
    "OPENAI_MODEL": "m",
}
SETTLED_WITHIN = 90
Progress = Callable[[str], None]


async def run(folder: Path, seed: int, seconds: float, progress: Progress) -> Path:
    """Returns the recording. The folder should hold no store of an earlier run."""
    path = folder / f"chaos-{seed}.jsonl"
    recording = Recording(path)
    recording.write("run", seed=seed, seconds=seconds)
    try:
        async with ChaosModel(seed, recording.write) as model, _service(folder, model) as service:
            clients = Clients(seed, lambda: service.port, recording)
            try:
                await _disturbed(service, clients, recording, seed, seconds, progress)
                await asyncio.gather(*(clients.read(job, "last") for job in clients.jobs))
            finally:
                await clients.aclose()
            progress("looking for what is left")
            recording.write("end", left=await _left(service, model, clients.jobs[-1]))
    finally:
        recording.close()
    return path


@asynccontextmanager
async def _service(folder: Path, model: ChaosModel) -> AsyncIterator[Service]:
    store = {"SLUICE_STORE": f"sqlite:///{folder / 'sluice.db'}"}
    upstream = {"OPENAI_BASE_URL": model.base_url}
    service = Service(folder / "service.log", SETTINGS | store | upstream)
    try:
        await service.start()
        yield service
    finally:
        await service.aclose()


async def _disturbed(
    service: Service,
    clients: Clients,
    recording: Recording,
    seed: int,
    seconds: float,
    progress: Progress,
) -> None:
    rng = Random(seed)
    end = time.monotonic() + seconds
    running = asyncio.create_task(clients.run())
    while (left := end - time.monotonic()) > 0 and not running.done():
        await asyncio.wait([running], timeout=min(left, rng.uniform(1, 6)))
        how = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        recording.write("disturbed", how=how.name, at=time.monotonic())
        service.tell(how)
        status = await service.gone()
        assert status == (0 if how is signal.SIGTERM else -how), f"{how.name}: exit {status}"
        await service.start()
        progress(f"{max(left, 0):.0f} s to go; {clients.over} jobs over; {recording.counts}")
    clients.stop.set()
    async with asyncio.timeout(SETTLED_WITHIN):
        await running


async def _left(service: Service, model: ChaosModel, job: str) -> dict[str, float]:
    """What a service that has nothing to do still holds, against one that has told one job."""
    await service.idle(30)
    await model.until_idle(30)
    tasks, descriptors = await _held(service, model)
    metrics = await service.metrics()
    await service.kill()
    await service.start()
    async with service.stream(job) as stream:
        await stream.all()
    await service.idle()
    fresh_tasks, fresh_descriptors = await _held(service, model)
    return {
        "calls upstream": model.opened - model.closed,
        "jobs": metrics["sluice_jobs_running"] + metrics["sluice_jobs_queued"],
        "streams": metrics["sluice_open_streams"],
        "tasks": max(0, tasks - fresh_tasks),
        "descriptors": max(0, descriptors - fresh_descriptors),
    }


async def _held(service: Service, model: ChaosModel) -> tuple[float, float]:
    """Tasks and descriptors, without those of idle connections; the least of a second's looks."""
    tasks, descriptors = [], []
    for _ in range(10):
        tasks.append((await service.metrics())["sluice_tasks"])
        descriptors.append(service.descriptors() - model.connections - service.connections)
        await asyncio.sleep(0.1)
    return min(tasks), min(descriptors)
