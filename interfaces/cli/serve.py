"""`sluice serve`."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.interfaces.cli.shared import address, model_line, refusals, settings_of

if TYPE_CHECKING:
    import socket

    from sluice.infrastructure.settings import Settings
    from sluice.interfaces.processes.lifetime import ExitDeadline

_CUT_SECONDS = 4
"""A connection may take to notice that its stream has ended, and a request that waits for
a frozen Redis to be told so: cut before that, it would be a 500."""


def serve(
    host: Annotated[str | None, typer.Option(help="SLUICE_HOST")] = None,
    port: Annotated[int | None, typer.Option(help="SLUICE_PORT")] = None,
    store: Annotated[str | None, typer.Option(help="SLUICE_STORE")] = None,
    pipeline: Annotated[str | None, typer.Option(help="SLUICE_PIPELINE: module:factory")] = None,
) -> None:
    """Serve chats over HTTP; with no upstream set, the bundled offline model answers."""
    with refusals():
        from sluice.interfaces.processes.launch import listen, run

        settings = settings_of(host=host, port=port, store=store, pipeline=pipeline)
        listener = listen(settings.host, settings.port)
        run(settings, partial(_serve, settings, listener))


async def _serve(settings: "Settings", listener: "socket.socket", exit_by: "ExitDeadline") -> None:
    from contextlib import ExitStack

    from sluice.interfaces.processes.launch import check_store, service_of, settle_collector

    with ExitStack() as stack:
        await check_store(settings.store)
        async with service_of(settings, stack) as service:
            server = service.server(cut=_CUT_SECONDS, signalled=exit_by.signalled)
            settle_collector()
            print(_banner(settings, listener, service.share), flush=True)
            await server.serve([listener])


def _banner(settings: "Settings", listener: "socket.socket", share: float) -> str:
    model = "" if settings.distributed else f"  model:           {model_line(settings)}\n"
    return (
        f"Sluice serves at {address(*listener.getsockname()[:2])}\n"
        f"{model}"
        f"  token streaming: {share:g} % of users take A2\n"
        f"  store:           {settings.shown_store}"
    )
