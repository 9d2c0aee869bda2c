"""What the log tells of an error: where it came from, and nothing of what it said."""

import json
import re
from collections.abc import Callable
from errno import EMFILE
from sysconfig import get_path
from typing import Any

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


def test_the_operating_systems_say_which() -> None:
    assert format_traceback(OSError(EMFILE, "secret", "secret")) == "OSError: EMFILE ()"
    assert format_traceback(OSError("secret")) == "OSError ()"


def test_it_names_the_last_place_that_is_in_no_library() -> None:
    with pytest.raises(ValueError, match="Expecting value") as raised:
        json.loads("secret")
    steps = r"test_tracebacks.py:\d+ > __init__.py:\d+ > decoder.py:\d+ > decoder.py:\d+"
    assert re.fullmatch(rf"JSONDecodeError \({steps}\)", format_traceback(raised.value))


def test_a_ring_of_causes_has_an_end() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert format_traceback(first) == "ValueError () from KeyError ()"


LIBRARIES = ["/venv/site-packages/lib/a.py", f"{get_path('stdlib')}/b.py", "<frozen c.py>"]
NEAR = "a.py:2 > b.py:2 > <frozen c.py>:2"


def raised_in(*files: str) -> ValueError:
    """An error that came through one function in each file, from the last, and not from here."""
    body = "raise ValueError('secret')"
    scope: dict[str, Any] = {}
    for file in reversed(files):
        exec(compile(f"def step():\n    {body}\n", file, "exec"), scope)
        body, scope = "inner()", {"inner": scope["step"]}
    call: Callable[[], object] = scope["inner"]
    with pytest.raises(ValueError, match="secret") as raised:
        call()
    assert raised.value.__traceback__ is not None
    return raised.value.with_traceback(raised.value.__traceback__.tb_next)


@pytest.mark.parametrize(
    ("files", "steps"),
    [
        (["/a/own.py"], "own.py:2"),
        (["/a/own.py", *LIBRARIES], f"own.py:2 > {NEAR}"),
        (["/a/one.py", "/a/two.py", *LIBRARIES[:1], *LIBRARIES], f"two.py:2 > {NEAR}"),
        (["/a/1.py", *LIBRARIES, "/a/2.py", *LIBRARIES[:1], *LIBRARIES], f"2.py:2 > {NEAR}"),
        (["/a/one.py", *LIBRARIES, "/a/two.py", *LIBRARIES[:2]], "two.py:2 > a.py:2 > b.py:2"),
        (["/a/one.py", *LIBRARIES, *LIBRARIES[:2], "/a/two.py"], "a.py:2 > b.py:2 > two.py:2"),
        (["/a/1.py", "/a/2.py", "/a/3.py", "/a/4.py"], "2.py:2 > 3.py:2 > 4.py:2"),
        ([*LIBRARIES, *LIBRARIES], NEAR),
    ],
)
def test_it_names_the_last_three_steps_and_one_that_is_in_no_library(
    files: list[str], steps: str
) -> None:
    assert format_traceback(raised_in(*files)) == f"ValueError ({steps})"


def test_what_an_error_hides_is_not_told_and_what_it_met_is() -> None:
    met, hid, caused = ValueError(), ValueError(), ValueError()
    for error in (met, hid, caused):
        error.__context__ = KeyError()
    hid.__suppress_context__ = True
    caused.__cause__ = OSError()
    assert format_traceback(met) == "ValueError () from KeyError ()"
    assert format_traceback(hid) == "ValueError ()"
    assert format_traceback(caused) == "ValueError () from OSError ()"


def test_an_error_of_a_chat_says_why_and_a_strangers_does_not() -> None:
    error = PipelineError("no answer")
    error.__cause__ = ValueError("secret")
    assert format_traceback(error) == "PipelineError: no answer () from ValueError ()"
