"""What the log tells of an error: where it came from, and nothing of what it said."""

import pytest

from domain.errors import trace


def look_up(known: dict[str, str], name: str) -> str:
    try:
        return known[name]
    except KeyError as cause:
        raise ValueError(name) from cause


def test_it_names_the_causes_and_not_their_texts() -> None:
    with pytest.raises(ValueError, match="secret") as raised:
        look_up({}, "secret")
    told = trace(raised.value)
    assert told.startswith("ValueError (test_trace.py:")
    assert " from KeyError (test_trace.py:" in told
    assert "secret" not in told


def test_a_ring_of_causes_has_an_end() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert trace(first) == "ValueError () from KeyError ()"
