"""The queues that LangGraph's runs make: as asyncio's, and smaller."""

import asyncio
from collections import deque
from typing import Any

import pytest
from langgraph.graph import START, StateGraph
from langgraph.pregel import main

from sluice.application.short_deque import ShortDeque
from sluice.infrastructure.pipeline.stream_queues import shorten_queues


@pytest.fixture(autouse=True)
def theirs(monkeypatch: pytest.MonkeyPatch) -> type:
    """As in a process in which nobody has shortened them."""
    queue: Any = main.AsyncQueue  # type: ignore[attr-defined]
    theirs: type = queue.__mro__[2] if len(queue.__mro__) > 5 else queue
    monkeypatch.setattr(main, "AsyncQueue", theirs)
    return theirs


def shortened() -> Any:
    shorten_queues()
    return main.AsyncQueue  # type: ignore[attr-defined]


async def test_one_keeps_no_room_for_who_waits(theirs: type) -> None:
    assert deques(theirs()) == 3
    assert deques(shortened()()) == 1
    assert issubclass(shortened(), theirs)
    assert shortened() is shortened()


def deques(queue: Any) -> int:
    return sum(type(held) is deque for held in vars(queue).values())


async def test_it_is_waited_for_and_gives_what_came_first() -> None:
    queue = shortened()()
    waits = [asyncio.create_task(queue.get()) for _ in range(2)]
    wakes = asyncio.create_task(queue.wait())
    await asyncio.sleep(0)
    for item in (1, 2, 3):
        queue.put_nowait(item)
    assert await asyncio.gather(*waits) == [1, 2]
    await wakes
    assert queue.get_nowait() == 3
    for _ in range(3):
        queue.task_done()
    await queue.join()


@pytest.mark.parametrize("name", [None, object])
async def test_what_is_another_is_left_as_it_is(
    name: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "AsyncQueue", name)
    assert shortened() is name


async def test_a_run_keeps_no_room_for_events_of_its_life(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_queues()
    held: list[type] = []
    theirs: Any = main.AsyncPregelLoop  # type: ignore[attr-defined]

    class Watched(theirs):  # type: ignore[misc]
        async def __aenter__(self) -> Any:
            loop = await super().__aenter__()
            held.append(type(loop._graph_lifecycle_events))
            return loop

    async def node(_: dict[str, int]) -> dict[str, int]:
        return {"n": 1}

    monkeypatch.setattr(main, "AsyncPregelLoop", Watched)
    builder: Any = StateGraph(dict)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    assert await builder.compile().ainvoke({"n": 0}) == {"n": 1}
    assert held == [ShortDeque]


def test_what_is_not_there_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(main, "AsyncQueue")
    shorten_queues()
    assert not hasattr(main, "AsyncQueue")
