"""Variables that nobody reads: a setting that was misspelt would be unset without a word."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from sluice.infrastructure.settings.model import Settings

OF_THE_COMMAND_LINE = ("SLUICE_URL", "SLUICE_TOKEN")
"""Read by the commands that ask a service, and no setting of one."""

_OTHER_PROGRAMS = frozenset({"OPENAI_API_KEYS", "OPENAI_MODELS"})
"""As near to ours as a misspelling would be, and meant."""

_PREFIX = "SLUICE_"
_SURE = 0.9
"""How alike a name of no prefix of ours must be to one of ours (`difflib`'s ratio)."""


def misspelt(environment: Mapping[str, str]) -> Iterator[str]:
    """A line for each, with the nearest name and never a value.

    Whatever begins with `SLUICE_` is told; of all others only what is surely meant for us, which
    is one letter away from a variable that is not set.
    """
    known = _known()
    given = {name.upper() for name, value in environment.items() if value}
    for name in sorted(given - known):
        if name.startswith(_PREFIX):
            short = {each.removeprefix(_PREFIX): each for each in sorted(known - given)}
            nearest = get_close_matches(name.removeprefix(_PREFIX), short, 1)
            meant = f": is {short[nearest[0]]} meant?" if nearest else ""
            yield f"{name} is no setting{meant}"
        elif name not in _OTHER_PROGRAMS:
            for each in get_close_matches(name, known - given, 1, _SURE):
                yield f"{name} is no setting: is {each} meant?"


def _known() -> frozenset[str]:
    fields = Settings.model_fields.items()
    names = {f"SLUICE_{name.upper()}" for name, _ in fields}
    aliases = {str(field.validation_alias) for _, field in fields if field.validation_alias}
    return frozenset(names | aliases | {*OF_THE_COMMAND_LINE})
