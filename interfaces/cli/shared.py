"""What the commands have in common."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sluice.infrastructure.settings import Settings

_FAILED, _WRONG = 1, 2
"""Exit statuses: of what did not work, and of what an operator has to mend."""

Url = Annotated[
    str | None,
    typer.Option(
        envvar="SLUICE_URL", help="The service; by default at SLUICE_HOST and SLUICE_PORT."
    ),
]


@contextmanager
def refusals() -> Iterator[None]:
    """A wrong setting is told in one line."""
    from sluice.infrastructure.settings import WrongSetting

    try:
        yield
    except WrongSetting as error:
        print(f"sluice: {error}", file=sys.stderr)
        raise typer.Exit(_WRONG) from None


def settings_of(*, worker: bool = False, **options: Any) -> "Settings":
    """The environment's, but for the options that were given. Raises WrongSetting."""
    from sluice.infrastructure.settings import check_environment, read_settings

    given = {name: value for name, value in options.items() if value is not None}
    settings = read_settings(worker=worker, **given)
    check_environment(settings, worker=worker)
    return settings


def service_at(url: str | None) -> str:
    """Where `sluice serve` listens in this environment, unless it is told."""
    found = url or address(
        os.environ.get("SLUICE_HOST") or "127.0.0.1", os.environ.get("SLUICE_PORT") or 8000
    )
    if not found.startswith(("http://", "https://")):
        print(f"sluice: {found} is no address, such as http://127.0.0.1:8000", file=sys.stderr)
        raise typer.Exit(_FAILED)
    return found


def address(host: str, port: int | str) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def model_line(settings: "Settings") -> str:
    if settings.offline:
        return "the bundled offline model (it quotes documents; set OPENAI_API_KEY for a real one)"
    return f"{settings.openai_model} at {settings.openai_base_url or 'api.openai.com'}"
