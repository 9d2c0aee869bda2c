"""`sluice worker`."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.interfaces.cli.shared import address, model_line, refusals, settings_of

if TYPE_CHECKING:
    from sluice.infrastructure.settings import Settings
    from sluice.interfaces.processes.lifetime import ExitDeadline


def worker(
    store: Annotated[str | None, typer.Option(help="SLUICE_STORE: redis://host")] = None,
    pipeline: Annotated[str | None, typer.Option(help="SLUICE_PIPELINE: module:factory")] = None,
) -> None:
    """Run the jobs that gateways (`sluice serve` with the same Redis store) have taken."""
    with refusals():
        from sluice.interfaces.processes.launch import run

        settings = settings_of(worker=True, store=store, pipeline=pipeline)
        run(settings, partial(_work, settings))


async def _work(settings: "Settings", exit_by: "ExitDeadline") -> None:
    from contextlib import ExitStack

    from sluice.interfaces.processes.launch import offline_model, settle_collector

    with ExitStack() as stack:
        offline_url = offline_model(settings, stack)
        from sluice.interfaces.processes import worker as process

        async with process.worker(settings, offline_url) as running:
            settle_collector()
            print(_banner(settings, running.metrics_port), flush=True)
            await running.run(exit_by.signalled)


def _banner(settings: "Settings", metrics_port: int | None) -> str:
    metrics = "not shown (SLUICE_METRICS_PORT)"
    if metrics_port is not None:
        metrics = f"{address(settings.host, metrics_port)}/metrics"
    return (
        f"Sluice works, {settings.max_running} jobs at once\n"
        f"  model:           {model_line(settings)}\n"
        f"  store:           {settings.shown_store}\n"
        f"  metrics:         {metrics}"
    )
