"""Tools as a user sees them: real agents and tool nodes, on both paths and with both readers."""

import asyncio
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, StructuredTool, ToolException, tool
from langgraph.config import get_stream_writer
from langgraph.prebuilt import InjectedState, ToolNode, ToolRuntime
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from sluice.domain.errors import PipelineError, UpstreamDisconnected
from sluice.domain.events import Tool
from sluice.domain.ports import LLMClientPort
from sluice.offline_model.replies import Break, Gate, Piece, Reply, tool_call_deltas
from tests.doubles import ScriptedChatModel
from tests.paths import graphs
from tests.paths.conftest import Path, Told
from tests.paths.graphs import SPEAKS, State

TOOLS = {"tools": True}
AGENT: Any = {"tools": frozenset({"model", "tools"})}
MODEL = frozenset({"model"})
SECRET = "CANARY"


@tool
def add(a: int, b: int) -> str:
    """Adds."""
    return str(a + b)


@tool
def fail(why: str) -> str:
    """Fails."""
    raise ValueError(f"{SECRET} {why}")


def calls(*made: tuple[str, str, dict[str, Any]]) -> AIMessage:
    return AIMessage(
        "", tool_calls=[{"id": call_id, "name": name, "args": args} for call_id, name, args in made]
    )


def shown(told: Told) -> list[tuple[str, ...]]:
    """Each step in short: whose, what, and what came with it."""
    return [
        (each.call_id, each.status, *(part for part in (each.arguments, each.result) if part))
        for each in told.tools
    ]


def by_hand(*messages: AIMessage, tools: Any, metadata: Any = TOOLS, **options: Any) -> Any:
    """A graph with a tool node of its own, whose calls a silent node makes."""

    async def call(state: State) -> dict[str, list[AIMessage]]:
        return {"messages": list(messages)}

    graph = graphs.chain(("call", call, {}), ("act", ToolNode(tools, **options), metadata))
    return graph.add_node("end", lambda _: {"answer": "done"}).add_edge("act", "end")


async def test_an_agents_call_is_named_then_given_its_arguments_and_its_result(path: Path) -> None:
    path.model.script(Reply.calling("add", {"a": 1, "b": 2}), Reply(pieces=["It is ", "3."]))
    told = await path.tell(
        lambda llm: create_agent(path.chat_model(), [add]), speaking=MODEL, named=AGENT
    )
    assert told.tools == [
        Tool("call_add_0", "add", "model", "started"),
        Tool("call_add_0", "add", "model", "arguments", arguments='{"a":1,"b":2}'),
        Tool("call_add_0", "add", "tools", "completed", result="3"),
    ]
    assert told.done.answer == "It is 3."
    of_tools = [e for e in told.events if isinstance(e, Tool) or "tools" in str(e)]
    assert [type(e).__name__ for e in of_tools] == [
        *("Tool", "Tool", "StageStarted", "Tool", "StageCompleted")
    ]


async def test_a_call_is_told_when_the_model_names_it_before_its_arguments_are_there(
    path: Path,
) -> None:
    gate = Gate()
    deltas = list(tool_call_deltas("add", {"a": 1, "b": 2}))
    path.model.script(Reply(deltas, "tool_calls", hold_after=2, gate=gate), Reply(["Three."]))
    told = Told()
    async with (
        asyncio.timeout(5),
        path.running(lambda llm: create_agent(path.chat_model(), [add]), named=AGENT) as events,
    ):
        async for event in events:
            told.events.append(event)
            if isinstance(event, Tool):
                gate.release()
                if len(told.tools) == 1:
                    assert event.status == "started"
    assert [status for _, status, *_ in shown(told)] == ["started", "arguments", "completed"]


async def test_a_tool_node_that_alone_is_declared_tells_all_of_its_tools(path: Path) -> None:
    build = lambda llm: by_hand(calls(("7", "add", {"a": 1, "b": 2})), tools=[add])  # noqa: E731
    told = await path.tell(build)
    assert told.tools == [
        Tool("7", "add", "act", "started"),
        Tool("7", "add", "act", "arguments", arguments='{"a":1,"b":2}'),
        Tool("7", "add", "act", "completed", result="3"),
    ]


async def test_of_a_call_that_a_silent_node_runs_the_result_is_not_told(path: Path) -> None:
    path.model.script(Reply.calling("add", {"a": 1, "b": 2}), Reply(pieces=["It is 3."]))
    told = await path.tell(
        lambda llm: create_agent(path.chat_model(), [add]), named={"tools": MODEL}
    )
    assert shown(told) == [
        ("call_add_0", "started"),
        ("call_add_0", "arguments", '{"a":1,"b":2}'),
    ]


@pytest.mark.parametrize("named", [None, {"speaks": frozenset({"model", "tools"})}])
async def test_tools_are_silent_without_the_word(path: Path, named: Any) -> None:
    path.model.script(Reply.calling("add", {"a": 1, "b": 2}), Reply(pieces=["Three."]))
    told = await path.tell(lambda llm: create_agent(path.chat_model(), [add]), named=named)
    assert told.tools == []
    assert "call_add_0" not in str(told.events)


async def test_calls_side_by_side_are_told_apart_and_end_as_they_end(path: Path) -> None:
    second_is_over = asyncio.Event()

    @tool
    async def wait(n: int) -> str:
        """Waits, the first for the second."""
        if n == 1:
            async with asyncio.timeout(5):
                await second_is_over.wait()
        second_is_over.set()
        return f"result {n}"

    both = calls(("one", "wait", {"n": 1}), ("two", "wait", {"n": 2}))

    def build(llm: LLMClientPort) -> Any:
        return create_agent(ScriptedChatModel(says=[both, AIMessage("Done.")]), [wait])

    told = await path.tell(build, named=AGENT)
    assert shown(told) == [
        ("one", "started"),
        ("one", "arguments", '{"n":1}'),
        ("two", "started"),
        ("two", "arguments", '{"n":2}'),
        ("two", "completed", "result 2"),
        ("one", "completed", "result 1"),
    ]


@pytest.mark.parametrize(
    "made",
    [
        ("1", "fail", {"why": SECRET}),
        ("1", "add", {"a": "no number", "b": 2}),
        ("1", "unknown", {}),
    ],
    ids=["it raises", "bad arguments", "no such tool"],
)
async def test_a_call_that_fails_is_told_to_have_failed_and_never_why(
    path: Path, made: Any
) -> None:
    def build(llm: LLMClientPort) -> Any:
        model = ScriptedChatModel(says=[calls(made), AIMessage("It did not work.")])
        node = ToolNode([add, fail], handle_tool_errors=True)
        graph = graphs.chain(("model", lambda s: {"messages": [model.invoke("x")]}, TOOLS))
        graph.add_node("act", node, metadata=TOOLS).add_edge("model", "act")
        return graph.add_node("end", lambda _: {"answer": "done"}).add_edge("act", "end")

    told = await path.tell(build)
    assert [each.status for each in told.tools] == ["started", "arguments", "failed"]
    assert [each.result for each in told.tools] == [None] * 3
    assert f"{SECRET} " not in str(told.events)


async def test_an_error_that_ends_the_run_is_told_of_its_tool_first(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        return create_agent(ScriptedChatModel(says=[calls(("1", "fail", {"why": ""}))]), [fail])

    told = await path.fail(build, PipelineError, named=AGENT)
    assert [each.status for each in told.tools] == ["started", "arguments", "failed"]
    assert SECRET not in str(told.events)


async def test_an_error_that_the_tool_itself_makes_a_message_of_has_failed_too(path: Path) -> None:
    async def run() -> str:
        raise ToolException(SECRET)

    kind = StructuredTool.from_function(
        coroutine=run, name="run", description="Runs.", handle_tool_error=True
    )
    told = await path.tell(lambda llm: by_hand(calls(("1", "run", {})), tools=[kind]))
    assert [each.status for each in told.tools] == ["started", "arguments", "failed"]
    assert SECRET not in str(told.tools)


@pytest.mark.parametrize("kind", ["ToolException", "ValidationError", "no error"])
@pytest.mark.parametrize("synchronous", [False, True])
async def test_a_tool_called_by_hand_that_makes_text_of_its_error_has_failed(
    path: Path, kind: str, synchronous: bool
) -> None:
    """Without a call's id there is no message that says so."""

    def run(n: int) -> str:
        if kind == "ToolException":
            raise ToolException(SECRET)
        return "fine"

    async def arun(n: int) -> str:
        return run(n)

    made = StructuredTool.from_function(
        func=run if synchronous else None,
        coroutine=None if synchronous else arun,
        name="run", description="Runs.", handle_tool_error=True, handle_validation_error=True,
    )  # fmt: skip

    async def act(state: State) -> dict[str, str]:
        said = await made.ainvoke({"n": "none" if kind == "ValidationError" else 1})
        return {"answer": "done" if said else ""}

    told = await path.tell(lambda llm: graphs.chain(("act", act, TOOLS)))
    end = "completed" if kind == "no error" else "failed"
    assert [each.status for each in told.tools] == ["started", "arguments", end]
    assert SECRET not in str(told.tools)


async def test_a_tool_that_waits_for_a_human_has_not_failed(path: Path) -> None:
    @tool
    def ask() -> str:
        """Asks."""
        return str(interrupt("May I?"))

    told = await path.fail(lambda llm: by_hand(calls(("1", "ask", {})), tools=[ask]), PipelineError)
    assert [each.status for each in told.tools] == ["started", "arguments"]


@pytest.mark.parametrize("config", [None, {"configurable": {"thread_id": "t"}}])
async def test_what_an_agent_in_a_tool_calls_is_told_inside_that_call(
    path: Path, config: Any
) -> None:
    """Two such tools side by side in one node: each inner call stands in its own."""

    @tool
    async def research(topic: str) -> str:
        """Asks an agent."""
        inner = calls((f"inner {topic}", "add", {"a": 1, "b": 2}))
        agent: Any = create_agent(ScriptedChatModel(says=[inner, AIMessage("Found.")]), [add])
        found = await agent.ainvoke({"messages": [("user", topic)]}, config)
        return str(found["messages"][-1].text)

    both = calls(("x", "research", {"topic": "x"}), ("y", "research", {"topic": "y"}))
    told = await path.tell(lambda llm: by_hand(both, tools=[research]))
    parents = {each.call_id: each.parent for each in told.tools}
    assert parents == {"x": None, "y": None, "inner x": "x", "inner y": "y"}
    for call_id in parents:
        steps = [each for each in told.tools if each.call_id == call_id]
        assert [each.status for each in steps] == ["started", "arguments", "completed"]
    assert {each.node for each in told.tools} == {"act", "act/model", "act/tools"}


async def test_tools_one_after_the_other_are_not_in_one_another(path: Path) -> None:
    async def act(state: State) -> dict[str, str]:
        await add.ainvoke({"a": 1, "b": 2})
        await add.ainvoke({"a": 3, "b": 4})
        return {"answer": "done"}

    told = await path.tell(lambda llm: graphs.chain(("act", act, TOOLS)))
    assert [each.parent for each in told.tools] == [None] * 6
    assert len({each.call_id for each in told.tools}) == 2, "each has an id of its own"
    assert [each.result for each in told.tools if each.result] == ["3", "7"]


async def test_only_what_the_model_gave_is_told_of_a_tools_arguments(path: Path) -> None:
    @tool
    async def look(
        city: str,
        state: Annotated[dict[str, Any], InjectedState],
        call_id: Annotated[str, InjectedToolCallId],
        runtime: ToolRuntime,
    ) -> str:
        """Looks."""
        assert state["notes"] == [SECRET]
        return city

    async def note(state: State) -> dict[str, list[str]]:
        return {"notes": [SECRET]}

    def build(llm: LLMClientPort) -> Any:
        graph = graphs.chain(
            ("note", note, {}),
            ("call", lambda s: {"messages": [calls(("1", "look", {"city": "서울"}))]}, {}),
            ("act", ToolNode([look]), TOOLS),
        )
        return graph.add_node("end", lambda _: {"answer": "x"}).add_edge("act", "end")

    told = await path.tell(build)
    assert shown(told)[1:] == [("1", "arguments", '{"city":"서울"}'), ("1", "completed", "서울")]


async def test_a_long_result_is_cut_and_long_arguments_are_left_out(path: Path) -> None:
    @tool
    def repeat(text: str) -> str:
        """Repeats."""
        return text

    told = await path.tell(
        lambda llm: by_hand(
            calls(
                ("long", "repeat", {"text": "é" * 40_000}), ("bad", "repeat", {"text": "\ud800"})
            ),
            tools=[repeat],
        )
    )
    steps = {(each.call_id, each.status): each for each in told.tools}
    assert ("long", "arguments") not in steps
    assert steps["long", "completed"].result == "é" * (16 * 1024 - 1) + "…"
    assert steps["bad", "arguments"].arguments == '{"text":"?"}'
    assert steps["bad", "completed"].result == "?"


async def test_a_tool_that_hands_over_has_the_result_that_it_hands_over_with(path: Path) -> None:
    @tool
    def over(call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
        """Hands over."""
        return Command(update={"messages": [ToolMessage("handed", tool_call_id=call_id)]})

    told = await path.tell(lambda llm: by_hand(calls(("1", "over", {})), tools=[over]))
    assert shown(told)[-1] == ("1", "completed", "handed")


class Weather(BaseModel):
    city: str


async def test_an_answer_in_a_tools_form_is_a_call_that_ends(path: Path) -> None:
    model = ScriptedChatModel(says=[calls(("1", "Weather", {"city": "Seoul"}))])
    told = await path.tell(
        lambda llm: create_agent(model, [], response_format=ToolStrategy(Weather)),
        named={"tools": MODEL},
    )
    assert [each.status for each in told.tools] == ["started", "arguments", "completed"]


async def test_an_answer_in_a_form_that_does_not_fit_is_a_call_that_failed(path: Path) -> None:
    told = await path.tell(
        lambda llm: create_agent(
            ScriptedChatModel(
                says=[
                    calls(("1", "Weather", {"town": SECRET})),
                    calls(("2", "Weather", {"city": "Seoul"})),
                ]
            ),
            [],
            response_format=ToolStrategy(Weather),
        ),
        named={"tools": MODEL},
    )
    assert [(each.call_id, each.status) for each in told.tools] == [
        *(("1", status) for status in ("started", "arguments", "failed")),
        *(("2", status) for status in ("started", "arguments", "completed")),
    ]
    assert "parse" not in str(told.tools)


async def test_calls_of_ours_that_choose_a_tool_or_fill_a_form_are_silent(path: Path) -> None:
    async def ask(state: State) -> dict[str, str]:
        function = {"name": "look", "parameters": {"type": "object"}}
        await llm.call_tool("call", [{"type": "function", "function": function}])
        await llm.structured("judge", Weather)
        await path.chat_model().bind_tools([add]).ainvoke("x", {"tags": ["nostream"]})
        return {"answer": "done"}

    llm = path.llm()
    path.model.script(
        Reply.calling("look", {"at": SECRET}),
        Reply(pieces=[f'{{"city": "{SECRET}"}}']),
        Reply.calling("add", {"a": SECRET}),
    )
    metadata = {**TOOLS, "reasoning": True}
    told = await path.tell(lambda _: graphs.chain(("ask", ask, metadata)), named=None)
    assert told.tools == []
    assert SECRET not in str(told.events)


async def test_a_call_whose_model_breaks_off_has_failed(path: Path) -> None:
    deltas: list[Piece] = [*tool_call_deltas("add", {"a": 1, "b": 2}), Break.CUT]
    path.model.script(Reply(deltas))
    told = await path.fail(
        lambda llm: create_agent(path.chat_model(), [add]), UpstreamDisconnected, named=AGENT
    )
    assert [each.status for each in told.tools] == ["started", "failed"]


async def test_a_call_waits_behind_the_held_tokens_of_the_node_that_named_it(path: Path) -> None:
    """Two agents side by side: the second speaks, calls and ends while the first still speaks."""
    first_speaks, second_is_over = asyncio.Event(), asyncio.Event()

    async def first(state: State) -> dict[str, list[str]]:
        get_stream_writer()({"token": "a"})
        first_speaks.set()
        async with asyncio.timeout(5):
            await second_is_over.wait()
        get_stream_writer()({"token": "b"})
        return {"notes": ["ab"]}

    async def second(state: State) -> dict[str, list[str]]:
        await first_speaks.wait()
        get_stream_writer()({"token": "c"})
        await add.ainvoke({"a": 1, "b": 2})
        get_stream_writer()({"token": "d"})
        second_is_over.set()
        return {"notes": ["cd"]}

    def build(llm: LLMClientPort) -> Any:
        graph = graphs.beside(("first", first, SPEAKS), ("second", second, {**SPEAKS, **TOOLS}))
        graph.add_node("end", lambda _: {"answer": "abcd"})
        return graph.add_edge(["first", "second"], "end")

    told = await path.tell(build)
    assert len(told.tools) == 3
    if path.speaks:
        kinds = [
            e.status if isinstance(e, Tool) else e.content
            for e in told.events
            if isinstance(e, Tool) or e in told.tokens
        ]
        assert kinds == ["a", "b", "c", "started", "arguments", "completed", "d"]
