"""What hypothesis draws from: any text a user or a model may send, any event, any log of them."""

from collections.abc import Sequence
from itertools import accumulate
from typing import get_args

from hypothesis import strategies as st

from sluice.domain.events import (
    Cancelled,
    CancelReason,
    Cursor,
    Data,
    Done,
    Event,
    Failed,
    InputKind,
    NeedsInput,
    Reasoning,
    Recorded,
    Reset,
    StageCompleted,
    StageFailed,
    StageStarted,
    Token,
    Tool,
    ToolStatus,
    Usage,
)

NASTY = [
    "\r", "\n", "\r\n", "\n\n", "\x00", "\u2028", "\u2029", "\x85", "\ufeff", "data: ",
    "event: done", "id: 9-9", "retry: 1", ": ", '"', "\\", "\\u0000", "</script>",
    "무색 페트병은", "\u1106\u116e", "\u202e", "\u200f\u05d0\u0628", "\u200b",
    "👩\u200d👧\u200d👦", "🏳\ufe0f\u200d🌈", "e\u0301",
]  # fmt: skip
CHARACTERS = st.characters(exclude_categories=["Cs"])
TEXT = st.lists(st.sampled_from(NASTY) | st.text(CHARACTERS), max_size=8).map("".join)
SAID = st.text(CHARACTERS, min_size=1) | st.lists(st.sampled_from(NASTY), min_size=1).map("".join)

CURSOR = st.builds(Cursor, st.integers(1, 9), st.integers(1, 10**9))
PERCENT = st.integers(0, 100)
COUNT = st.integers(0, 10**6)
TOKEN = st.builds(Token, SAID, TEXT)
STAGE = st.one_of(
    *(st.builds(kind, TEXT, PERCENT, st.none() | TEXT)
      for kind in (StageStarted, StageCompleted, StageFailed))
)  # fmt: skip
MAYBE = st.none() | TEXT
TOOL = st.builds(Tool, TEXT, TEXT, TEXT, st.sampled_from(get_args(ToolStatus)), MAYBE, MAYBE, MAYBE)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
DATA = st.builds(Data, TEXT, JSON, TEXT)
NEEDS_INPUT = st.builds(
    NeedsInput,
    *(TEXT, JSON, st.sampled_from(get_args(InputKind)), st.sampled_from(["soon", "later"]) | TEXT),
    st.none() | st.dictionaries(TEXT, JSON, max_size=3),
)
RESET = st.builds(Reset, st.sampled_from(["new_attempt", "cursor_unknown", "revised"]))
DONE = st.builds(
    Done,
    st.sampled_from(["A1", "A2"]),
    TEXT,
    st.none() | TEXT,
    st.none() | TEXT,
    st.none() | st.builds(Usage, COUNT, COUNT, COUNT),
    st.booleans(),
    st.none() | TEXT,
)
FAILED = st.builds(Failed, TEXT, TEXT, st.booleans(), TEXT)
CANCELLED = st.builds(Cancelled, st.sampled_from(get_args(CancelReason)))
REASONING = st.builds(Reasoning, SAID, TEXT)
EVENT = TOKEN | TOOL | REASONING | DATA | NEEDS_INPUT | STAGE | RESET | DONE | FAILED | CANCELLED


def recorded(steps: Sequence[tuple[Event, bool]]) -> list[Recorded]:
    """A log of these events, in which every True begins the next attempt."""
    attempts = accumulate(int(begins) for _, begins in steps)
    seqs: dict[int, int] = {}
    log = []
    for (event, _), attempt in zip(steps, attempts, strict=True):
        seqs[attempt] = seqs.get(attempt, 0) + 1
        log.append(Recorded(Cursor(attempt + 1, seqs[attempt]), event))
    return log


NODE = st.sampled_from(["answer", "retrieve"])
LONG = st.builds(lambda text, times: text * times, SAID, st.sampled_from([1, 1, 1, 50, 999]))
WITHIN = LONG.map(lambda text: text[: 16 * 1024])
"""What the use case lets into a log: at most 64 KiB of UTF-8 whatever the characters."""
BEGINS = st.integers(0, 9).map(lambda n: n == 9)
STEP = st.tuples(STAGE | TOOL | DATA | NEEDS_INPUT | RESET, BEGINS)


def _said_on(kind: type[Token | Reasoning]) -> st.SearchStrategy[list[tuple[Event, bool]]]:
    """One node's tokens in a row, with or without the beginning of an attempt between them."""
    return st.builds(
        lambda node, steps: [(kind(text, node), begins) for text, begins in steps],
        NODE,
        st.lists(st.tuples(WITHIN, BEGINS), min_size=1, max_size=6),
    )


SAID_ON = _said_on(Token) | _said_on(Reasoning)
LOG = st.lists(SAID_ON | STEP.map(lambda step: [step]), max_size=8).map(
    lambda runs: recorded([step for run in runs for step in run])
)
