"""Where a run begins, and what it knows of what was there before."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.types import Command, interrupt

from sluice.domain.chat import Turn
from sluice.domain.errors import StateLost
from sluice.domain.graph_state import ROOT, Advanced, Head, Pause, Resumption
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.place import Place, found
from sluice.infrastructure.pipeline.starts import Start, started
from tests.unit.small_graphs import MemorySaver, State, a_question, chain, ran

HISTORY = [Turn("user", "first"), Turn("assistant", "second")]
EARLIER = {"job:0", "job:1"}


async def answer(state: State) -> State:
    return {"messages": [AIMessage("said", id=f"said {len(state['messages'])}")]}


async def ask(state: State) -> State:
    return {"answer": str(interrupt("?")), "messages": [AIMessage("x", id="asked")]}


async def watched(saver: MemorySaver | None, *, keeps: bool = True, node: Any = answer) -> Any:
    """In a coroutine: an InMemorySaver of some versions wants a loop."""
    return WatchedGraph(chain(answer=node), new_saver=lambda: saver, keeps=keeps)


async def test_without_a_saver_a_run_has_no_place_and_begins_with_its_input() -> None:
    graph = WatchedGraph(chain(answer=answer))
    asked = a_question(history=HISTORY, head=Head("thread"))
    start = await started(graph, asked)
    assert start == Start(graph.input(asked), frozenset({"job:0"}))
    assert (start.place, start.before, start.note) == (None, {}, None)


async def test_the_messages_of_its_input_are_given() -> None:
    start = await started(WatchedGraph(chain(answer=answer)), a_question(history=HISTORY))
    assert start.given == EARLIER | {"job:2"}


async def test_a_run_that_keeps_nothing_for_its_chat_has_a_thread_of_its_job() -> None:
    saver = MemorySaver()
    graph = await watched(saver, keeps=False, node=ask)
    asked = a_question(history=HISTORY)
    start = await started(graph, asked)
    assert start == Start(
        graph.input(asked), frozenset(EARLIER | {"job:2"}), Place("job", ROOT, {}), {}, {}
    )
    assert start.note == {}
    assert await saver.aget_tuple({"configurable": {"thread_id": "job", "checkpoint_ns": ""}})


async def test_a_chats_next_run_stands_where_the_last_one_ended_and_knows_its_messages() -> None:
    saver = MemorySaver()
    graph = await watched(saver)
    first = await ran(graph, a_question(id="one", head=Head("thread")))
    assert isinstance(first, Advanced)
    asked = a_question("Go on", history=HISTORY, head=first.head)
    start = await started(graph, asked)
    kept = await found(saver, first.head)
    versions = kept.checkpoint["channel_versions"]
    assert versions["messages"]
    assert start.place == Place(*first.head, versions)
    assert (start.before, start.note) == (versions, {})
    assert start.given == {"one:0", "said 1", "job:0"}
    assert start.input == graph.input(asked)


async def test_at_the_root_of_a_thread_nothing_was_before() -> None:
    graph = await watched(MemorySaver())
    start = await started(graph, a_question(head=Head("thread")))
    assert start.place == Place("thread", ROOT, {})
    assert start.before == {}
    assert start.given == {"job:0"}


async def test_a_run_that_goes_on_stands_at_its_pause_and_has_its_note() -> None:
    saver = MemorySaver()
    graph = await watched(saver, node=ask)
    head = Head("thread")
    pause = await ran(graph, a_question(head=head))
    assert isinstance(pause, Pause)
    resumption = Resumption(pause, {pause.requests[0].input_id: "yes"})
    start = await started(graph, a_question(head=head, resumption=resumption))
    assert start.input == Command(resume={pause.requests[0].input_id: "yes"})
    paused = (await found(saver, pause.head)).checkpoint["channel_versions"]
    assert start.place == Place(*pause.head, paused)
    assert paused != start.before == {}
    assert start.note == pause.said
    assert start.given == {"job:0"}


@pytest.mark.parametrize("head", [Head("thread", "nowhere"), Head("other", "nowhere")])
async def test_a_head_that_is_not_there_is_lost(head: Head) -> None:
    with pytest.raises(StateLost, match="checkpoint nowhere is not there"):
        await started(await watched(MemorySaver()), a_question(head=head))


async def test_a_pause_that_is_not_there_is_lost() -> None:
    graph = await watched(MemorySaver(), node=ask)
    lost = Resumption(Pause(Head("thread", "nowhere"), ()), {})
    with pytest.raises(StateLost):
        await started(graph, a_question(head=Head("thread"), resumption=lost))


async def test_a_threads_root_is_made_once_and_holds_nothing() -> None:
    saver = MemorySaver()
    first = await found(saver, Head("thread"))
    assert (first.checkpoint["id"], first.checkpoint["channel_values"]) == (ROOT, {})
    assert first.config["configurable"] == {
        "thread_id": "thread", "checkpoint_ns": "", "checkpoint_id": ROOT,
    }  # fmt: skip
    assert first.metadata == {"source": "input", "step": -2, "parents": {}}
    assert (await found(saver, Head("thread"))).checkpoint == first.checkpoint


async def test_a_thread_that_goes_on_is_not_begun_again() -> None:
    saver = MemorySaver()
    graph = await watched(saver)
    first = await ran(graph, a_question(head=Head("thread")))
    assert isinstance(first, Advanced)
    kept = [each.checkpoint["id"] async for each in saver.alist(None)]
    await found(saver, first.head)
    assert [each.checkpoint["id"] async for each in saver.alist(None)] == kept


def test_a_place_without_a_checkpoint_begins_with_nothing_and_is_nobodys_head() -> None:
    place = Place("thread", None)
    assert place.config == {"thread_id": "thread", "checkpoint_ns": ""}
    with pytest.raises(StateLost, match="has left no checkpoint"):
        _ = place.head
    assert Place("thread", "1").config == {**place.config, "checkpoint_id": "1"}
    assert Place("thread", "1").head == Head("thread", "1")


@pytest.mark.parametrize(
    ("at", "passes"),
    [
        ({"thread_id": "thread", "checkpoint_ns": ""}, True),
        ({"thread_id": "thread"}, True),
        ({"thread_id": "thread", "checkpoint_ns": "inner"}, False),
        ({"thread_id": "other", "checkpoint_ns": ""}, False),
    ],
)
def test_a_run_passes_its_own_checkpoints_only(at: dict[str, str], passes: bool) -> None:
    place, kept = Place("thread", "1", {"a": 1}), {"id": "2", "channel_versions": {"a": 2}}
    place.passed(at, kept)  # type: ignore[arg-type]
    expected = Place("thread", "2", {"a": 2}) if passes else Place("thread", "1", {"a": 1})
    assert place == expected
