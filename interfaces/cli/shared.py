"""What the commands have in common."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from sluice.infrastructure.settings import Settings

_WRONG = 2
"""Exit status for what an operator has to mend."""


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


def address(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def model_line(settings: "Settings") -> str:
    if settings.offline:
        return "the bundled offline model (it quotes documents; set OPENAI_API_KEY for a real one)"
    return f"{settings.openai_model} at {settings.openai_base_url or 'api.openai.com'}"
