"""The collector of a process that serves stops its streams, so it may not walk much at once."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import ref

import pytest

from sluice.domain.events import Cursor, Recorded, Token
from sluice.interfaces.processes.collector import collect_new_objects_only, settle_collector


@pytest.fixture(autouse=True)
def threshold() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


@pytest.fixture
def settled() -> None:
    settle_collector()


@contextmanager
def generations() -> Iterator[set[int]]:
    """Those that are collected meanwhile."""
    seen = set[int]()

    def look(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            seen.add(info["generation"])

    gc.callbacks.append(look)
    try:
        yield seen
    finally:
        gc.callbacks.remove(look)


class Ring:
    def __init__(self) -> None:
        self.itself = self


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


def test_what_is_loaded_is_walked_once_while_it_is_new() -> None:
    with generations() as seen:
        collect_new_objects_only()
        kept = [[number] for number in range(100_000)]
        settle_collector()
    assert len(kept) == 100_000
    assert seen == {0}


def test_what_loading_leaves_behind_is_not_kept() -> None:
    collect_new_objects_only()
    left = ref(Ring())
    kept = [[number] for number in range(2_000)]
    assert len(kept) == 2_000
    assert left() is None
