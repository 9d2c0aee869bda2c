"""The closed list of events, held against every place that knows it.

A new event needs its class in `domain/events.py`, its line in `application/codec.py`, and what
these tests then ask for: the strategies, the page, the script, the docs, the readers under test.
What it is in another protocol is decided in each `interfaces/protocols/*/` encoder, which leaves
out what it does not know; and in `interfaces/cli/display.py` and `interfaces/client/reading.py`.
"""

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings

from sluice.application.codec import FORMS
from sluice.domain.events import TERMINAL, Event, Terminal
from tests.chaos.story import TERMINAL as CHAOS_TERMINAL
from tests.live.stream import TERMINAL as LIVE_TERMINAL
from tests.strategies import EVENT

ROOT = Path(__file__).parents[2]
KEEPALIVE = "keepalive"
NAMES = frozenset(form.name for form in FORMS.values())
TERMINAL_NAMES = frozenset(FORMS[kind].name for kind in get_args(Terminal))
PAGE, EVENTS, SCRIPT = "interfaces/web/client.js", "docs/events.md", "scripts/e2e-intent-test.sh"
ALL = NAMES | {KEEPALIVE}
KNOWN = {
    f"{EVENTS}: the table": (EVENTS, r"## The events\n\n.*\n.*\n((?:\|.*\n)+)", ALL),
    f"{EVENTS}: the page of its example": (EVENTS, r"const NAMES = (\[.*\]);", ALL),
    f"{SCRIPT}: what it checks": (SCRIPT, r"def event\(.*\n((?:.*\n)+?)    else fail", ALL),
    "interfaces/web/fold.js: what changes": (
        *("interfaces/web/fold.js", r"const CHANGES = \{\n((?:.*\n)+?)\};"),
        NAMES,
    ),
    f"{PAGE}: its ends": (PAGE, r"const ENDS = new Set\((\[.*\])\);", TERMINAL_NAMES),
    f"{EVENTS}: the ends of its example": (EVENTS, r"const ENDS = (\[.*\]);", TERMINAL_NAMES),
    f"{SCRIPT}: its ends": (SCRIPT, r"def terminal: (.*);", TERMINAL_NAMES),
    "interfaces/web/view.js: its ends": (
        *("interfaces/web/view.js", r"const ENDS = \{ (.*) \};"),
        TERMINAL_NAMES,
    ),
}
"""Each place that knows the names: its file, where in it, and which of them it must know."""
INDIRECT = {
    EVENTS: r"\bNAMES\b|\.\.\.TERMINAL",
    SCRIPT: r"\(\$event \| terminal\)",
}
"""Where a list takes the names of the ends from another."""
_NAME = re.compile(
    r'"([a-z_]+)"|^\| `([a-z_]+)`|^  ([a-z_]+): \(|(?:^|, )([a-z_]+): "', re.MULTILINE
)
BESIDE = {"revised"}
"""A reason that stands among the names."""


@pytest.mark.parametrize("place", KNOWN)
def test_every_place_that_knows_the_events_knows_these_and_no_others(place: str) -> None:
    path, pattern, expected = KNOWN[place]
    found = re.search(pattern, (ROOT / path).read_text())
    assert found is not None, f"{path} has no {pattern}"
    names = {next(filter(None, match)) for match in _NAME.findall(found[1])}
    if path in INDIRECT and re.search(INDIRECT[path], found[1]):
        names |= TERMINAL_NAMES
    assert expected <= names
    assert names - expected <= BESIDE


def test_the_codec_knows_every_event_and_all_of_its_fields() -> None:
    assert set(FORMS) == set(get_args(Event))
    assert set(TERMINAL) == set(get_args(Terminal))
    for kind, form in FORMS.items():
        kept = {name for name in form.fields if name != "status" or form.status is None}
        assert kept == {field.name for field in fields(kind)}
        assert ("status" in form.fields) == (form.status is not None or "status" in kept)


def test_no_two_events_look_alike() -> None:
    alike = [(form.name, form.status) for form in FORMS.values()]
    assert len(set(alike)) == len(alike)


def test_the_suites_readers_know_the_ends() -> None:
    assert set(LIVE_TERMINAL) == set(CHAOS_TERMINAL) == TERMINAL_NAMES


def test_the_strategies_draw_every_event() -> None:
    drawn: set[type] = set()

    @settings(max_examples=500)
    @given(EVENT)
    def draw(event: Event) -> None:
        drawn.add(type(event))

    draw()
    assert drawn == set(FORMS)
