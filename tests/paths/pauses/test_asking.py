"""A graph that stops to ask a human, and goes on with the answer: every shape, on both paths."""

from typing import Any

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from sluice.domain.errors import Declined
from sluice.domain.events import Reset
from sluice.domain.graph_state import InputRequest, Pause
from sluice.infrastructure.pipeline.savers.sqlite import SqliteSaver
from tests.paths.conftest import Path
from tests.paths.pauses.jobs import Form, Job, State, graph, say


async def test_a_node_asks_and_what_it_says_again_is_not_told_again(
    path: Path, saver: SqliteSaver
) -> None:
    async def first(state: State) -> State:
        say("One. ")
        return {"log": ["One. "]}

    async def ask(state: State) -> State:
        say("Shall I? ")
        got = interrupt({"question": "shall I?"})
        say(f"You said {got}.")
        return {"answer": f"{state['log'][0]}Shall I? You said {got}."}

    job = Job(path, lambda llm: graph(first=first, ask=ask), saver)
    pause = await job.pauses()
    assert pause.requests == (
        InputRequest(pause.requests[0].input_id, {"question": "shall I?"}, "text"),
    )
    assert job.told.stages == ["+first", "-first", "+ask"]
    assert await job.answers(pause, "yes") == "One. Shall I? You said yes."
    assert job.told.stages == ["+first", "-first", "+ask", "-ask"]
    assert not any(isinstance(event, Reset) for event in job.told.events)


async def test_a_node_that_says_something_else_revises_what_it_said(
    path: Path, saver: SqliteSaver
) -> None:
    tries: list[int] = []

    async def first(state: State) -> State:
        say("One. ")
        return {"log": ["One. "]}

    async def ask(state: State) -> State:
        tries.append(1)
        say("Same ")
        say(f"and {len(tries)}. ")
        got = interrupt("?")
        return {"answer": f"One. Same and {len(tries)}. {got}"}

    job = Job(path, lambda llm: graph(first=first, ask=ask), saver)
    pause = await job.pauses()
    assert await job.answers(pause, "yes") == "One. Same and 2. yes"
    resets = [event for event in job.told.events if isinstance(event, Reset)]
    assert len(resets) == (1 if path.speaks else 0)


async def test_a_node_may_ask_twice_and_a_resumption_twice(path: Path, saver: SqliteSaver) -> None:
    async def ask(state: State) -> State:
        say("a")
        one = interrupt("one")
        say("b")
        two = interrupt("two")
        return {"answer": f"ab{one}{two}"}

    job = Job(path, lambda llm: graph(ask=ask), saver)
    first = await job.pauses()
    second = await job.goes_on(first, "1")
    assert isinstance(second, Pause)
    assert [each.prompt for each in second.requests] == ["two"]
    assert second.requests[0].input_id != first.requests[0].input_id
    before = list(job.told.events)
    job.told.events = before[
        : len(before) - path.speaks
    ]  # the process died before the pause was kept
    again = await job.goes_on(first, "1")
    assert isinstance(again, Pause)
    assert (again.head, again.requests, again.said) == (second.head, second.requests, second.said)
    assert job.told.events == before
    assert await job.answers(again, "2") == "ab12"


async def test_a_run_that_went_on_to_its_end_may_do_so_again(
    path: Path, saver: SqliteSaver
) -> None:
    async def ask(state: State) -> State:
        return {"log": [interrupt("?")]}

    async def end(state: State) -> State:
        return {"answer": "+".join(state["log"])}

    job = Job(path, lambda llm: graph(ask=ask, end=end), saver)
    pause = await job.pauses()
    told = list(job.told.events)
    assert await job.answers(pause, "yes") == "yes"
    job.told.events = told
    assert await job.answers(pause, "yes") == "yes"


async def test_several_questions_at_once_are_answered_together(
    path: Path, saver: SqliteSaver
) -> None:
    async def a(state: State) -> State:
        return {"log": [f"a:{interrupt('a?')}"]}

    async def b(state: State) -> State:
        return {"log": [f"b:{interrupt('b?')}"]}

    async def end(state: State) -> State:
        return {"answer": ",".join(sorted(state["log"]))}

    def build(llm: object) -> Any:
        built = StateGraph(State).add_node(a).add_node(b).add_node(end)
        built.add_edge(START, "a").add_edge(START, "b")
        return built.add_edge(["a", "b"], "end")

    job = Job(path, build, saver)
    pause = await job.pauses()
    assert sorted(str(each.prompt) for each in pause.requests) == ["a?", "b?"]
    assert await job.answers(pause, **{"a?": "1", "b?": "2"}) == "a:1,b:2"


async def test_a_question_in_a_subgraph(path: Path, saver: SqliteSaver) -> None:
    async def first(state: State) -> State:
        say("first ")
        return {"log": ["first"]}

    async def ask(state: State) -> State:
        say("ask ")
        return {"answer": f"first ask {interrupt('?')}"}

    def build(llm: object) -> Any:
        inner = graph(first=first, ask=ask).compile()
        return StateGraph(State).add_node("sub", inner).add_edge(START, "sub")

    job = Job(path, build, saver)
    pause = await job.pauses()
    assert job.told.stages == ["+sub", "+sub/first", "-sub/first", "+sub/ask"]
    assert await job.answers(pause, "yes") == "first ask yes"
    assert job.told.stages[4:] == ["-sub/ask", "-sub"]


async def test_a_schema_makes_a_form_and_a_wrong_answer_is_asked_again(
    path: Path, saver: SqliteSaver
) -> None:
    async def ask(state: State) -> State:
        form = interrupt("how much?", response_schema=Form)
        return {"answer": str(form.amount + 1)}

    job = Job(path, lambda llm: graph(ask=ask), saver)
    pause = await job.pauses()
    assert pause.requests[0].kind == "form"
    assert pause.requests[0].schema is not None
    assert pause.requests[0].schema["required"] == ["amount"]
    again = await job.goes_on(pause, {"amount": "many"})
    assert isinstance(again, Pause)
    assert again.requests[0].prompt == "how much?"
    assert again.requests[0].input_id != pause.requests[0].input_id
    assert await job.answers(again, {"amount": 2}) == "3"


@pytest.mark.parametrize("how", ["interrupt_before", "interrupt_after"])
@pytest.mark.parametrize("nested", [False, True])
async def test_a_graph_that_is_compiled_to_stop(
    path: Path, saver: SqliteSaver, how: str, nested: bool
) -> None:
    async def first(state: State) -> State:
        return {"log": ["first"]}

    async def middle(state: State) -> State:
        return {"log": ["middle"]}

    async def last(state: State) -> State:
        return {"answer": "+".join([*state["log"], "last"])}

    def build(llm: object) -> Any:
        options: dict[str, Any] = {how: ["first", "middle"]}
        stops = graph(first=first, middle=middle, last=last).compile(**options)
        return StateGraph(State).add_node("sub", stops).add_edge(START, "sub") if nested else stops

    job = Job(path, build, saver)
    pause = await job.pauses()
    assert pause.requests[0].kind == "approval"
    second = await job.goes_on(pause, {"type": "approve"})
    assert isinstance(second, Pause)
    assert second.requests[0].input_id != pause.requests[0].input_id
    with pytest.raises(Declined):
        await job.goes_on(second, {"type": "reject"})
    assert await job.answers(second, {"type": "approve"}) == "first+middle+last"
