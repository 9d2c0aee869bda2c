"""`sluice`: what an operator types. Nothing heavy is imported before a command needs it."""

import sys
from typing import Annotated, Any

import typer

from sluice.interfaces.cli.ask import answer, ask, watch
from sluice.interfaces.cli.compare import compare
from sluice.interfaces.cli.model import model
from sluice.interfaces.cli.rollout import rollout
from sluice.interfaces.cli.serve import serve
from sluice.interfaces.cli.worker import worker

app = typer.Typer(
    name="sluice",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich alone would cost more than the command line may
    pretty_exceptions_enable=False,
)
for command in (serve, worker, ask, watch, answer, compare, model):
    app.command()(command)
app.add_typer(rollout, name="rollout")


def _show_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"sluice {version('sluice')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Say which.")
    ] = False,
) -> None:
    """Brings a LangGraph pipeline's tokens to a browser: in order, exactly once, resumable."""


def main(args: list[str] | None = None) -> Any:
    """Sluice's own arguments, or the process's."""
    return app(sys.argv[1:] if args is None else args)
