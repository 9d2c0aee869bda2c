"""One machine's run: the service is killed, or told to leave, and started again."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.chaos.lanes import Lane, dismiss, kill
from tests.chaos.leftovers import against_fresh
from tests.chaos.run import SETTINGS
from tests.chaos.upstream import ChaosModel
from tests.live.service import Service, serving


class Embedded:
    def __init__(self, service: Service, model: ChaosModel) -> None:
        self._service, self._model = service, model
        faults = [kill(service), kill(service), dismiss(service)]
        self.lanes: Sequence[Lane] = [
            Lane("service", faults, (1, 6), lambda: {"port": service.port})
        ]

    def port(self) -> int:
        return self._service.port

    async def left(self, job: str) -> dict[str, float]:
        service, model = self._service, self._model
        await service.idle(120)
        await model.until_idle(120)
        metrics = await service.metrics()
        return {
            "calls upstream": model.opened - model.closed,
            "jobs": metrics["sluice_jobs_running"] + metrics["sluice_jobs_queued"],
            "streams": metrics["sluice_open_streams"],
            **await against_fresh(service, model.base_url, job=job),
        }


@asynccontextmanager
async def embedded(folder: Path, model: ChaosModel) -> AsyncIterator[Embedded]:
    store = {"SLUICE_STORE": f"sqlite:///{folder / 'sluice.db'}"}
    upstream = {"OPENAI_BASE_URL": model.base_url}
    async with serving(folder, **SETTINGS | store | upstream) as service:
        yield Embedded(service, model)
