"""`sluice`: what an operator types. Nothing heavy is imported before a command needs it."""

import sys
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="sluice",
    help="Brings a LangGraph pipeline's tokens to a browser: in order, exactly once, resumable.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich alone would cost more than the command line may
    pretty_exceptions_enable=False,
)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="SLUICE_HOST")] = None,
    port: Annotated[int | None, typer.Option(help="SLUICE_PORT")] = None,
    store: Annotated[str | None, typer.Option(help="SLUICE_STORE")] = None,
    pipeline: Annotated[str | None, typer.Option(help="SLUICE_PIPELINE: module:factory")] = None,
) -> None:
    """Serve chats over HTTP; with no upstream set, the bundled offline model answers."""
    from sluice.interfaces.processes.run import run_server

    given = {"host": host, "port": port, "store": store, "pipeline": pipeline}
    _exit(run_server(**{name: value for name, value in given.items() if value is not None}))


@app.command()
def worker(
    store: Annotated[str | None, typer.Option(help="SLUICE_STORE: redis://host")] = None,
    pipeline: Annotated[str | None, typer.Option(help="SLUICE_PIPELINE: module:factory")] = None,
) -> None:
    """Run the jobs that gateways (`sluice serve` with the same Redis store) have taken."""
    from sluice.interfaces.processes.run import run_worker

    given = {"store": store, "pipeline": pipeline}
    _exit(run_worker(**{name: value for name, value in given.items() if value is not None}))


@app.command()
def model(
    port: Annotated[int, typer.Option(help="Where to listen; 0 takes a free port.")] = 8001,
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    pace: Annotated[float, typer.Option(help="Seconds between tokens; 0 for none.")] = 0.03,
    fault: Annotated[str | None, typer.Option(help="A way for every answer to fail.")] = None,
) -> None:
    """Run the offline model alone: a small OpenAI-compatible server."""
    from sluice.interfaces.processes.run import run_model

    _exit(run_model(host, port, pace, fault))


def _exit(code: int) -> None:
    raise typer.Exit(code)


def main(args: list[str] | None = None) -> Any:
    """Sluice's own arguments, or the process's."""
    return app(sys.argv[1:] if args is None else args)
