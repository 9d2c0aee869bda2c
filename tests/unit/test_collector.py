"""The collector of a process that serves stops its streams, so it may not walk much at once."""

import gc
from collections.abc import Iterator

import pytest

from sluice.domain.events import Cursor, Recorded, Token
from sluice.interfaces.processes.launch import settle_collector


@pytest.fixture
def settled() -> Iterator[None]:
    before = gc.get_threshold()
    settle_collector()
    yield
    gc.set_threshold(*before)


@pytest.mark.usefixtures("settled")
def test_a_collection_walks_what_a_thousand_tokens_leave_and_not_ten_times_as_much() -> None:
    walked: list[int] = []

    def look(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 0:
            walked.append(len(gc.get_objects(generation=0)))

    gc.callbacks.append(look)
    try:
        log = [Recorded(Cursor(1, number), Token("a", "answer")) for number in range(40_000)]
    finally:
        gc.callbacks.remove(look)
    assert len(log) == 40_000
    assert walked
    assert max(walked) < 10_000


@pytest.mark.usefixtures("settled")
def test_what_was_loaded_is_walked_no_more() -> None:
    assert gc.get_freeze_count() > 10 * len(gc.get_objects(generation=2))
