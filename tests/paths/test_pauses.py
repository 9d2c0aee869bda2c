"""A graph that stops to ask a human, and goes on with the answer: every shape, on both paths."""

import asyncio
import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from pydantic import BaseModel

from sluice.application.model_calls import current_node
from sluice.domain.chat import Question
from sluice.domain.errors import Declined, PipelineError, UpstreamTruncated
from sluice.domain.events import Done, Event, Json, Reset
from sluice.domain.graph_state import Advanced, Head, InputRequest, Pause, Resumption
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.running_node import RunningNode
from sluice.infrastructure.pipeline.savers.saver import Saver
from sluice.infrastructure.pipeline.savers.sqlite import SqliteSaver
from sluice.infrastructure.pipeline.token_path import TokenPath
from sluice.infrastructure.sqlite.checkpoints import SqliteCheckpoints
from tests.doubles import ScriptedChatModel
from tests.paths.conftest import Path, Told, question


@pytest.fixture
async def checkpoints(tmp_path: FilePath) -> Any:
    file = SqliteCheckpoints(tmp_path / "a.db")
    await file.open()
    yield file
    await file.aclose()


@pytest.fixture
async def saver(checkpoints: SqliteCheckpoints) -> SqliteSaver:
    return SqliteSaver(checkpoints)


class State(TypedDict, total=False):
    message: str
    answer: str
    log: Annotated[list[str], operator.add]


def say(text: str) -> None:
    get_stream_writer()({"token": text})


class Job:
    """One job on one path, through its pauses; a new pipeline for each run, as after a restart."""

    def __init__(self, path: Path, build: Any, saver: Saver, **options: Any) -> None:
        self.path, self.build, self.options = path, build, {"saver": saver, **options}
        self.speaks = path.speaks
        self.told = Told()
        self.asked: Question = question("m")

    async def run(self) -> Any:
        pipeline = self.path.pipeline(self.build, **self.options)
        outcome = await pipeline.run(self.asked, self.told.events.append)
        if isinstance(outcome, Pause):
            return outcome
        done = outcome.done if isinstance(outcome, Advanced) else outcome
        self.told.events.append(done)
        if self.speaks:
            assert self.told.text == done.answer
        assert not [mark for mark in self.told.stages if mark.startswith("!")]
        started = [mark for mark in self.told.stages if mark.startswith("+")]
        assert sorted(started) == sorted(f"+{m[1:]}" for m in self.told.stages if m[0] == "-")
        return outcome

    async def pauses(self) -> Pause:
        outcome = await self.run()
        assert isinstance(outcome, Pause)
        return outcome

    async def goes_on(self, pause: Pause, *values: Json, **by_prompt: Json) -> Any:
        given = dict(zip([each.input_id for each in pause.requests], values, strict=False))
        given |= {
            each.input_id: by_prompt[str(each.prompt)] for each in pause.requests if by_prompt
        }
        said = through_json(pause.said)
        self.asked = replace(self.asked, resumption=Resumption(replace(pause, said=said), given))
        return await self.run()

    async def answers(self, pause: Pause, *values: Json, **by_prompt: Json) -> str:
        outcome = await self.goes_on(pause, *values, **by_prompt)
        assert isinstance(outcome, Done)
        return outcome.answer


def through_json(said: Mapping[str, Json]) -> Any:
    return json.loads(json.dumps(said))


def graph(**nodes: Any) -> StateGraph[Any]:
    """Nodes one after the other, all of them speaking."""
    built, last = StateGraph(State), START
    for name, node in nodes.items():
        built.add_node(name, node, metadata={"speaks": True})
        built.add_edge(last, name)
        last = name
    return built


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


class Form(BaseModel):
    amount: int


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


async def test_what_was_told_before_a_wrong_answer_is_not_told_again(
    path: Path, saver: SqliteSaver
) -> None:
    answered: list[asyncio.Event] = []

    async def a(state: State) -> State:
        if answered:
            await answered[0].wait()
        form = interrupt("how much?", response_schema=Form)
        return {"log": [str(form.amount)]}

    async def b(state: State) -> State:
        if not answered:
            answered.append(asyncio.Event())
        name = interrupt("who?")
        say(f"For {name}.")
        answered[0].set()
        return {"answer": f"For {name}."}

    def build(llm: object) -> Any:
        built = StateGraph(State).add_node(a).add_node("b", b, metadata={"speaks": True})
        return built.add_edge(START, "a").add_edge(START, "b")

    job = Job(path, build, saver)
    pause = await job.pauses()
    values: dict[str, Json] = {"who?": "Ann"}
    again = await job.goes_on(pause, **values, **{"how much?": {"amount": "many"}})
    assert isinstance(again, Pause)
    assert await job.answers(again, **values, **{"how much?": {"amount": 2}}) == "For Ann."
    assert not any(isinstance(event, Reset) for event in job.told.events)


async def test_a_node_that_was_over_when_another_asked_has_one_start_and_one_end(
    path: Path, saver: SqliteSaver
) -> None:
    async def a(state: State) -> State:
        say("a ")
        return {"log": ["a"]}

    async def ask(state: State) -> State:
        return {"log": [interrupt("?")]}

    async def end(state: State) -> State:
        return {"answer": f"a {state['log'][-1]}"}

    def build(llm: object) -> Any:
        built = StateGraph(State).add_node("a", a, metadata={"speaks": True})
        built.add_node(ask).add_node(end)
        built.add_edge(START, "a").add_edge(START, "ask")
        return built.add_edge(["a", "ask"], "end")

    job = Job(path, build, saver)
    assert await job.answers(await job.pauses(), "yes") == "a yes"
    assert sorted(job.told.stages) == ["+a", "+ask", "+end", "-a", "-ask", "-end"]


async def test_what_was_said_side_by_side_before_a_pause_is_known_as_it_was_told(
    path: Path, saver: SqliteSaver
) -> None:
    begun, waits = asyncio.Event(), asyncio.Event()

    async def a(state: State) -> State:
        say("a1 ")
        begun.set()
        await waits.wait()
        say("a2 ")
        return {"log": ["a"]}

    async def b(state: State) -> State:
        await begun.wait()
        say("b ")
        waits.set()
        return {"log": ["b"]}

    async def ask(state: State) -> State:
        return {"answer": f"a1 a2 b {interrupt('?')}"}

    def build(llm: object) -> Any:
        built = StateGraph(State)
        for name, node in (("a", a), ("b", b), ("ask", ask)):
            built.add_node(name, node, metadata={"speaks": True})
        built.add_edge(START, "a").add_edge(START, "b")
        return built.add_edge(["a", "b"], "ask")

    job = Job(path, build, saver)
    assert await job.answers(await job.pauses(), "yes") == "a1 a2 b yes"
    assert not any(isinstance(event, Reset) for event in job.told.events)


def calls(*names: str) -> AIMessage:
    return AIMessage(
        "",
        tool_calls=[
            {"name": name, "args": {"to": "ann"}, "id": f"call-{n}", "type": "tool_call"}
            for n, name in enumerate(names)
        ],
    )


def send(to: str) -> str:
    """Sends."""
    return f"sent to {to}"


def agent(middleware: Any, *says: AIMessage) -> Callable[[object], Any]:
    """A new model for each build goes on where the last one was: what it said is in the state."""
    left = list(says)
    model = ScriptedChatModel(says=left)
    model.says = left
    return lambda llm: create_agent(model, [send], middleware=middleware)


@pytest.mark.parametrize("mode", ["batched", "per_call"])
async def test_an_agent_has_its_tools_approved(path: Path, saver: SqliteSaver, mode: str) -> None:
    options: Any = {} if mode == "batched" else {"interrupt_mode": "per_call"}
    human = HumanInTheLoopMiddleware({"send": True}, **options)
    build = agent([human], calls("send", "send"), AIMessage("Done."))
    job = Job(path, build, saver, named={"tools": frozenset({"model", "tools"})})
    pause = await job.pauses()
    assert {each.kind for each in pause.requests} == {"approval"}
    approve: Json = {"type": "approve"}
    values: list[Json] = [{"decisions": [approve, approve]}] if mode == "batched" else [approve] * 2
    assert len(pause.requests) == len(values)
    assert await job.answers(pause, *values) == "Done."
    steps = [(tool.call_id, tool.status) for tool in job.told.tools]
    assert sorted(set(steps)) == sorted(steps)
    assert {status for _, status in steps} == {"started", "arguments", "completed"}


async def test_a_tool_asks_and_is_shown_once(path: Path, saver: SqliteSaver) -> None:
    def ask(to: str) -> str:
        """Asks first."""
        return f"sent to {to}: {interrupt(f'send to {to}?')}"

    model = ScriptedChatModel(says=[])
    left = [calls("ask", "ask"), AIMessage("Done.")]
    model.says = left
    named: Any = {"tools": frozenset({"model", "tools"})}
    job = Job(path, lambda llm: create_agent(model, [ask]), saver, named=named)
    pause = await job.pauses()
    assert [each.prompt for each in pause.requests] == ["send to ann?"] * 2
    assert await job.answers(pause, "yes", "no") == "Done."
    steps = [(tool.call_id, tool.status) for tool in job.told.tools]
    assert len(steps) == len(set(steps)) == 6


async def test_data_and_cost_before_a_pause_are_told_once_and_counted(
    path: Path, saver: SqliteSaver
) -> None:
    async def ask(state: State) -> State:
        get_stream_writer()({"data": {"found": 1}})
        get_stream_writer()({"data": {"found": 2}})
        got = interrupt("?")
        get_stream_writer()({"data": {"got": got}})
        return {"answer": "x"}

    named: Any = {"data": frozenset({"ask"})}
    job = Job(path, lambda llm: graph(ask=ask), saver, named=named)
    pause = await job.pauses()
    await job.answers(pause, "yes")
    assert [each.data for each in job.told.data] == [{"found": 1}, {"found": 2}, {"got": "yes"}]


async def test_an_answer_that_was_cut_before_a_pause_is_no_answer_after_it(
    path: Path, saver: SqliteSaver
) -> None:
    async def answer(state: State) -> State:
        node = current_node.get()
        assert isinstance(node, RunningNode)
        node.run.cut("half")
        return {"answer": "half"}

    async def ask(state: State) -> State:
        return {"log": [interrupt("?")]}

    job = Job(path, lambda llm: graph(answer=answer, ask=ask), saver)
    pause = await job.pauses()
    with pytest.raises(UpstreamTruncated):
        await job.goes_on(pause, "yes")


async def test_what_was_written_before_a_pause_is_the_answer_of_the_turn(
    path: Path, saver: SqliteSaver
) -> None:
    async def answer(state: State) -> State:
        return {"answer": "same"}

    async def ask(state: State) -> State:
        interrupt("?")
        return {"log": ["x"]}

    job = Job(path, lambda llm: graph(answer=answer, ask=ask), saver, keeps=True)
    job.asked = replace(job.asked, head=Head("thread"))
    one = await job.goes_on(await job.pauses(), "yes")
    assert isinstance(one, Advanced)
    assert one.done.answer == "same"
    job.told = Told()
    job.asked = replace(question("again"), head=one.head)
    two = await job.goes_on(await job.pauses(), "yes")
    assert isinstance(two, Advanced)
    assert two.done.answer == "same"


async def test_an_attempt_begins_anew_beside_what_a_killed_one_left(
    path: Path, saver: SqliteSaver
) -> None:
    async def ask(state: State) -> State:
        return {"log": ["x"], "answer": f"{len(state.get('log', []))}{interrupt('?')}"}

    job = Job(path, lambda llm: graph(ask=ask), saver)
    await job.pauses()
    job.told = Told()
    pause = await job.pauses()  # the first was never kept
    assert await job.answers(pause, "yes") == "0yes"


async def test_a_graph_that_asks_nothing_leaves_no_checkpoint(
    path: Path, checkpoints: SqliteCheckpoints
) -> None:
    def refuse() -> Saver:
        pytest.fail("a saver was asked for")

    async def answer(state: State) -> State:
        return {"answer": "x"}

    assert WatchedGraph(graph(answer=answer), new_saver=refuse).saver is None


async def test_a_graph_that_asks_is_refused_where_nothing_could_keep_it() -> None:
    async def ask(state: State) -> State:
        return {"answer": interrupt("?")}

    async def answer(state: State) -> State:
        return {"answer": "x"}

    with pytest.raises(TypeError, match="SLUICE_DATABASE"):
        WatchedGraph(graph(ask=ask), new_saver=lambda: None)
    stops = graph(answer=answer).compile(interrupt_before=["answer"])
    with pytest.raises(TypeError, match="stops for a human"):
        WatchedGraph(stops, new_saver=lambda: None)

    def missing() -> Saver:
        raise ImportError(name="langgraph.checkpoint.sqlite")

    with pytest.raises(TypeError, match="extra `state` is not installed"):
        WatchedGraph(graph(ask=ask), new_saver=missing)
    kept = graph(answer=answer).compile(checkpointer=InMemorySaver())
    assert WatchedGraph(kept, new_saver=missing).saver is None


async def test_a_question_that_nobody_saw_coming_fails_its_job_and_the_log_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def unseen() -> Any:
        return getattr(__import__("langgraph.types").types, "inter" + "rupt")

    async def ask(state: State) -> State:
        return {"answer": unseen()("?")}

    kept = graph(ask=ask).compile(checkpointer=InMemorySaver())
    pipeline = TokenPath(WatchedGraph(kept, new_saver=lambda: None))
    events: list[Event] = []
    with pytest.raises(PipelineError):
        await pipeline.run(question("m"), events.append)
    assert "the graph waits for a human" in caplog.text
    assert "the extra `state`" in caplog.text
