"""A list in a deque's place: whatever is done to both, both hold the same."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.application.short_deque import ShortDeque

Step = tuple[str, int]
steps = st.lists(st.tuples(st.sampled_from(["append", "appendleft", "popleft"]), st.integers()))


@given(steps)
def test_it_holds_what_a_deque_holds(steps: list[Step]) -> None:
    short, known = ShortDeque(), deque[int]()
    for method, item in steps:
        if method != "popleft":
            getattr(short, method)(item)
            getattr(known, method)(item)
        elif known:
            assert short.popleft() == known.popleft()
        assert [*short] == [*known]


def test_nothing_is_taken_of_nothing() -> None:
    with pytest.raises(IndexError):
        ShortDeque().popleft()
