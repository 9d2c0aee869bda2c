"""What the log tells of an error: where it came from, and nothing of what it said."""

import json
import re

import pytest

from sluice.application.tracebacks import format_traceback
from sluice.domain.errors import PipelineError, Unavailable


def look_up(known: dict[str, str], name: str) -> str:
    try:
        return known[name]
    except KeyError as cause:
        raise ValueError(name) from cause


def test_it_names_the_causes_and_not_their_texts() -> None:
    with pytest.raises(ValueError, match="secret") as raised:
        look_up({}, "secret")
    told = format_traceback(raised.value)
    assert told.startswith("ValueError (test_tracebacks.py:")
    assert " from KeyError (test_tracebacks.py:" in told
    assert "secret" not in told


def test_our_own_errors_say_why() -> None:
    assert format_traceback(Unavailable("Redis is full")) == "Unavailable: Redis is full ()"
    assert format_traceback(PipelineError()) == "PipelineError ()"


def test_it_names_the_last_place_that_is_in_no_library() -> None:
    with pytest.raises(ValueError, match="Expecting value") as raised:
        json.loads("secret")
    steps = r"test_tracebacks.py:\d+ > __init__.py:\d+ > decoder.py:\d+ > decoder.py:\d+"
    assert re.fullmatch(rf"JSONDecodeError \({steps}\)", format_traceback(raised.value))


def test_a_ring_of_causes_has_an_end() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert format_traceback(first) == "ValueError () from KeyError ()"
