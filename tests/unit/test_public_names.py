"""What users import: `sluice` and `sluice.testing`."""

import subprocess
import sys

import pytest

import sluice
from sluice.application import heard_calls
from sluice.domain import errors, ports

LOADED = "import sys; import {what}; print(*sorted(m for m in sys.modules if m in {ours!r}))"


@pytest.mark.parametrize("name", sluice.__all__)
def test_a_public_name_is_what_sluice_itself_uses(name: str) -> None:
    homes = (ports, errors, heard_calls)
    own = next(getattr(home, name) for home in homes if hasattr(home, name))
    assert getattr(sluice, name) is own
    assert name in dir(sluice)


def test_every_error_a_node_may_meet_is_public() -> None:
    """Those that the service alone knows of are not: no node could raise them rightly.

    Nor are the kinds of an unusable output: nodes catch `UpstreamBadResponse` and
    `UpstreamTruncated`, which those are.
    """
    of_the_service = {
        *("AskerGone", "AsksHuman", "DeadlineExceeded", "Declined", "Internal", "StateLost"),
        *("StreamLost", "WorkerLost"),
    }
    of_the_clients = {"Unusable", "UnusableOutput", "CutOutput"}
    every = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.ChatError)
    }
    assert every - set(sluice.__all__) == of_the_service | of_the_clients


def test_another_name_is_none_of_sluice() -> None:
    with pytest.raises(AttributeError, match="no attribute 'ScriptedLLM'"):
        _ = sluice.ScriptedLLM  # type: ignore[attr-defined]


def test_importing_sluice_or_its_service_loads_no_more_than_it_needs() -> None:
    """No layer for the name alone, and no double and no pytest for the service."""
    ours = {"sluice.domain", "sluice.domain.errors", "sluice.testing", "pytest"}
    for what in ("sluice", "sluice.interfaces.processes.launch"):
        code = LOADED.format(what=what, ours=ours)
        loaded = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        assert not {"sluice.testing", "pytest"} & set(loaded)
        assert what != "sluice" or loaded == []


def test_the_client_comes_with_its_name_and_without_the_service() -> None:
    heavy = ("fastapi", "langgraph", "openai", "pydantic", "sluice.infrastructure", "starlette")
    code = (
        "import sys, sluice; assert 'sluice.client' not in sys.modules; sluice.client.Client;"
        f" print(*(name for name in {heavy!r} if name in sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
