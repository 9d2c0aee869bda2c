"""What a run of a graph comes to, its answer or a pause: real graphs, no model."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.types import interrupt
from pydantic import BaseModel
from pytest_mock import MockerFixture

from sluice.domain.errors import PipelineError
from sluice.domain.events import Done
from sluice.domain.graph_state import Advanced, Head, Outcome, Pause, Resumption
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.stage_path import StagePath
from sluice.infrastructure.pipeline.tap import Tap
from sluice.infrastructure.pipeline.token_path import TokenPath
from tests.unit.small_graphs import (
    SPEAKS,
    THREAD,
    MemorySaver,
    State,
    a_question,
    answer,
    chain,
    ran,
)


async def ask(state: State) -> State:
    return {"answer": f"You said {interrupt('?')}."}


class Form(BaseModel):
    amount: int


async def ask_for_a_number(state: State) -> State:
    get_stream_writer()({"token": "How much? "})
    return {"answer": f"How much? {interrupt('how much?', response_schema=Form).amount}"}


def answered(pause: Outcome, value: Any, head: Head | None = None) -> Any:
    assert isinstance(pause, Pause)
    given = {each.input_id: value for each in pause.requests}
    return a_question(head=head, resumption=Resumption(pause, given))


async def test_a_run_without_a_state_comes_to_its_answer() -> None:
    done = await ran(chain(answer=(answer, SPEAKS)))
    assert done == Done("A2", "x")


@pytest.mark.parametrize("offline", [True, False])
async def test_it_is_told_with_its_path_and_whose_answer_it_is(offline: bool) -> None:
    built = chain(answer=(answer, SPEAKS))
    graph, kept = WatchedGraph(built), WatchedGraph(built, new_saver=MemorySaver, keeps=True)
    for path, name in ((TokenPath, "A2"), (StagePath, "A1")):
        expected = Done(name, "x", offline_model=offline)
        done = await path(graph, offline=offline).run(a_question(), lambda _: None)
        assert done == expected
        outcome = await path(kept, offline=offline).run(a_question(head=THREAD), lambda _: None)
        assert isinstance(outcome, Advanced)
        assert outcome.done == expected


async def test_a_run_of_a_chat_moves_its_head_and_leaves_one_checkpoint() -> None:
    saver = MemorySaver()
    graph = WatchedGraph(chain(note=answer, answer=answer), new_saver=lambda: saver, keeps=True)
    outcome = await ran(graph, a_question(head=THREAD))
    assert isinstance(outcome, Advanced)
    assert outcome.done.answer == "x"
    kept = [each.checkpoint["id"] async for each in saver.alist(None)]
    assert len(kept) == 2
    assert outcome.head == Head("thread", kept[0])


async def test_a_run_of_no_chat_moves_none() -> None:
    graph = WatchedGraph(chain(answer=answer), new_saver=MemorySaver, keeps=True)
    assert isinstance(await ran(graph, a_question()), Done)


async def test_what_an_earlier_turn_wrote_is_not_told_again_unless_it_is_written_again() -> None:
    async def turn(state: State) -> State:
        said = state["message"]
        if said == "a word":
            return {"messages": [AIMessage("word")]}
        return {"answer": "x", "intent": "i"} if said == "all" else {"intent": "i", "answer": "y"}

    graph = WatchedGraph(chain(turn=(turn, SPEAKS)), new_saver=MemorySaver, keeps=True)
    head, told = THREAD, []
    for message in ("all", "a word", "all", "more", "a word"):
        outcome = await ran(graph, a_question(message, head=head))
        assert isinstance(outcome, Advanced)
        head = outcome.head
        told.append((outcome.done.answer, outcome.done.intent))
    assert told == [("x", "i"), ("word", None), ("x", "i"), ("y", "i"), ("word", None)]


async def test_a_run_that_asks_pauses_and_goes_on_where_it_was() -> None:
    graph = WatchedGraph(chain(ask=ask), new_saver=MemorySaver)
    pause = await ran(graph, a_question())
    assert isinstance(pause, Pause)
    assert [each.prompt for each in pause.requests] == ["?"]
    assert pause.said["asked"] == 1
    done = await ran(graph, answered(pause, "yes"))
    assert isinstance(done, Done)
    assert done.answer == "You said yes."


async def test_a_second_question_knows_that_it_is_one() -> None:
    async def twice(state: State) -> State:
        return {"answer": interrupt("one") + interrupt("two")}

    graph = WatchedGraph(chain(ask=twice), new_saver=MemorySaver)
    second = await ran(graph, answered(await ran(graph, a_question()), "1"))
    assert isinstance(second, Pause)
    assert ([each.prompt for each in second.requests], second.said["asked"]) == (["two"], 2)


async def test_a_question_that_a_node_takes_back_is_none() -> None:
    async def catches(state: State) -> State:
        try:
            interrupt("?")
        except Exception:  # noqa: BLE001 - a node may
            return {"answer": "never mind"}
        raise AssertionError

    done = await ran(WatchedGraph(chain(ask=catches), new_saver=MemorySaver))
    assert isinstance(done, Done)
    assert done.answer == "never mind"


async def test_a_graph_that_is_compiled_to_stop_pauses_without_asking() -> None:
    stops = chain(note=answer, answer=answer).compile(interrupt_before=["answer"])
    pause = await ran(WatchedGraph(stops, new_saver=MemorySaver))
    assert isinstance(pause, Pause)
    assert pause.requests[0].kind == "approval"


async def test_a_question_that_cannot_be_kept_fails_and_the_log_says_what_is_missing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    graph = WatchedGraph(chain(ask=ask).compile(checkpointer=InMemorySaver()))
    with pytest.raises(PipelineError):
        await ran(graph)
    assert "it needs the extra `state`" in caplog.text
    caplog.clear()
    await ran(chain(answer=answer))
    assert caplog.text == ""


async def test_an_answer_that_is_none_is_asked_for_again_and_its_words_are_known() -> None:
    graph = WatchedGraph(chain(ask=(ask_for_a_number, SPEAKS)), new_saver=MemorySaver)
    pause = await ran(graph)
    again = await ran(graph, answered(pause, {"amount": "many"}))
    assert isinstance(again, Pause)
    assert isinstance(pause, Pause)
    assert again.head == pause.head
    assert again.requests[0].input_id == f"{pause.requests[0].input_id}.2"
    assert {**again.said, "asked": 1} == pause.said
    done = await ran(graph, answered(again, {"amount": 2}))
    assert isinstance(done, Done)
    assert done.answer == "How much? 2"


async def test_only_an_answer_can_be_none() -> None:
    async def invalid(state: State) -> State:
        Form.model_validate({})
        return {}

    async def asks_first(state: State) -> State:
        interrupt("?")
        return await invalid(state)

    with pytest.raises(PipelineError):
        await ran(chain(invalid=invalid))
    graph = WatchedGraph(chain(ask=asks_first), new_saver=MemorySaver)
    pause = await ran(graph)
    with pytest.raises(PipelineError):
        await ran(graph, answered(pause, "yes"))


async def test_of_the_run_itself_its_listeners_are_not_told(mocker: MockerFixture) -> None:
    told = mocker.spy(Tap, "on_chain_start")
    await ran(WatchedGraph(chain(only=answer)), a_question())
    assert [call.kwargs["name"] for call in told.call_args_list] == ["only"]
