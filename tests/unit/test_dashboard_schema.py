"""The dashboard, held against Grafana's own types, generated from the schema that Grafana keeps.

Grafana itself is in no registry that a test can install from.
"""

import json
from collections.abc import Iterator
from copy import deepcopy
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from pydantic import ConfigDict, TypeAdapter, ValidationError

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD: Any = json.loads((DEPLOY / "grafana" / "sluice.json").read_text())
THEIRS = "grafana_foundation_sdk"
ANY_CLASS = ConfigDict(arbitrary_types_allowed=True)


def mistakes(dashboard: Any) -> list[str]:
    """What Grafana's types do not know, or know otherwise."""
    register_default_plugins()
    read = Dashboard.from_json(deepcopy(dashboard))
    kept = json.loads(json.dumps(read, cls=JSONEncoder))
    return [*unknown(dashboard, kept), *mistyped(read)]


def unknown(given: Any, kept: Any, where: str = "") -> Iterator[str]:
    """Of what was given, what reading has dropped; what it has added are Grafana's defaults."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for name, value in given.items():
            if name in kept:
                yield from unknown(value, kept[name], f"{where}.{name}")
            elif value is not None:
                yield f"{where}.{name}"
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, pair in enumerate(zip(given, kept, strict=True)):
            yield from unknown(*pair, f"{where}[{number}]")
    elif given != kept:
        yield where


def mistyped(part: Any, where: str = "") -> Iterator[str]:
    if isinstance(part, list):
        for number, each in enumerate(part):
            yield from mistyped(each, f"{where}[{number}]")
    elif type(part).__module__.startswith(THEIRS) and not isinstance(part, Enum):
        for name, kind in get_type_hints(type(part)).items():
            value = getattr(part, name, None)
            if not fits(kind, value):
                yield f"{where}.{name}"
            yield from mistyped(value, f"{where}.{name}")


def fits(kind: Any, value: Any) -> bool:
    """Words of a closed list are read as they are."""
    adapter = TypeAdapter(kind, config=ANY_CLASS)
    try:
        adapter.validate_python(value, strict=True)
    except ValidationError:
        try:
            return isinstance(adapter.validate_python(value), Enum)
        except ValidationError:
            return False
    return True


def test_grafana_knows_every_field_of_the_dashboard() -> None:
    assert mistakes(DASHBOARD) == []


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        (("gridPos", "h"), "8", ".panels[1].grid_pos.h"),
        (("titel",), "x", ".panels[1].titel"),
        (("options", "legend", "placement"), "nowhere", ".panels[1].options.legend.placement"),
        (("options", "legend", "showLegend"), "yes", ".panels[1].options.legend.show_legend"),
        (("targets", 0, "expression"), "up", ".panels[1].targets[0].expression"),
        (("fieldConfig", "defaults", "units"), "s", ".panels[1].fieldConfig.defaults.units"),
    ],
)
def test_a_mistake_in_it_would_be_found(path: tuple[Any, ...], value: object, found: str) -> None:
    wrong = deepcopy(DASHBOARD)
    part = wrong["panels"][1]
    *above, name = path
    for step in above:
        part = part[step]
    part[name] = value
    assert mistakes(wrong) == [found]
