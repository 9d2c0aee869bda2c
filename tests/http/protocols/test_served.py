"""Which protocols are served: ours always, other people's as the operator has it."""

from typing import get_args

import pytest
from fastapi import APIRouter

from sluice.infrastructure.settings import read_settings
from sluice.infrastructure.settings.model import Protocol
from sluice.interfaces.protocols import served
from sluice.interfaces.protocols.native import routes as native

THEIRS = {name: APIRouter() for name in ("openai", "ag-ui")}


@pytest.fixture(autouse=True)
def table(no_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "PROTOCOLS", {"native": native.routes, **THEIRS})


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("", {"openai", "ag-ui"}),
        ("none", set()),
        ("openai", {"openai"}),
        (" ag-ui , openai,ag-ui,", {"openai", "ag-ui"}),
    ],
)
def test_ours_is_served_always_and_theirs_where_they_are_named(
    value: str, names: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICE_PROTOCOLS", value)
    routes = served.routers(read_settings().protocols)
    assert routes == [native.routes, *(THEIRS[name] for name in THEIRS if name in names)]


def test_every_protocol_that_is_served_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert served.PROTOCOLS.keys() - {"native"} <= {*get_args(Protocol)}
