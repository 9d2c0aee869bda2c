"""A tool call as it is told: named, given its arguments, ended; and thoughts, and data."""

import json
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import StructuredTool, ToolException
from langgraph.types import Command

from sluice.domain.errors import PipelineError
from sluice.domain.events import Data, Tool
from sluice.infrastructure.pipeline.running_node import RunningNode
from sluice.infrastructure.pipeline.thoughts import thought_in
from sluice.infrastructure.pipeline.tool_calls import (
    ToolCall,
    ToolCalls,
    encodable,
    failed_quietly,
    is_agents_model,
    lacks_its_response,
)
from sluice.infrastructure.pipeline.visibility import Declared
from sluice.infrastructure.pipeline.written_data import written_data
from tests.unit.graph_runs import A, B, Run

BELOW = "a:1|x:7"


def node_in(run: Run) -> RunningNode:
    return RunningNode(run, A, declared=Declared(tools=True))


def a_call(**fields: Any) -> ToolCall:
    given: dict[str, Any] = {"id": "c", "name": "f", "queue": A, "parent": "p"}
    return ToolCall(**given | fields)


def told(call: ToolCall, *outputs: object) -> list[Tool]:
    run = Run()
    for output in outputs:
        call.end(node_in(run), BELOW, output)
    return [event for event in run.told if isinstance(event, Tool)]


async def test_each_step_of_a_call_says_whose_it_is() -> None:
    run = Run()
    call = a_call()
    call.tell(node_in(run), BELOW, "started")
    call.argue(node_in(run), BELOW, {"a": "ü"})
    call.argue(node_in(run), BELOW, {"a": 2})
    call.end(node_in(run), BELOW, "done")
    assert run.told == [
        Tool("c", "f", "a/x", "started", "p"),
        Tool("c", "f", "a/x", "arguments", "p", arguments='{"a":"ü"}'),
        Tool("c", "f", "a/x", "completed", "p", result="done"),
    ]


async def test_a_call_is_told_in_the_order_of_the_run_that_named_it() -> None:
    run = Run()
    run.token(A, "a", "1")
    run.token(B, "b", "2")
    a_call(queue=B).tell(node_in(run), A, "started")
    assert len(run.told) == 1
    a_call(queue=A).tell(node_in(run), B, "started")
    assert run.told[1:] == [Tool("c", "f", "b", "started", "p")]


async def test_on_a1_a_call_is_told_behind_the_start_of_its_stage() -> None:
    run = Run("events")
    a_call().tell(node_in(run), A, "started")
    assert run.told == []
    run.stage_started(A, {})
    assert run.told[1:] == [Tool("c", "f", "a", "started", "p")]


async def test_a_lone_surrogate_in_any_part_is_replaced() -> None:
    run = Run()
    call = a_call(id="c\ud800", name="f\ud800")
    call.argue(node_in(run), A, {"a": "\ud800"})
    call.end(node_in(run), A, "x\ud800")
    assert run.told == [
        Tool("c?", "f?", "a", "arguments", "p", arguments='{"a":"?"}'),
        Tool("c?", "f?", "a", "completed", "p", result="x?"),
    ]
    assert (encodable("ü"), encodable("a")) == ("ü", "a")


@pytest.mark.parametrize("arguments", [object(), {1, 2}, float("nan")])
async def test_arguments_that_json_cannot_say_are_not_told(arguments: object) -> None:
    run = Run()
    call = a_call()
    call.argue(node_in(run), A, arguments)
    assert run.told == []
    call.argue(node_in(run), A, {})
    assert len(run.told) == 1


async def test_arguments_that_go_on_without_end_are_not_told() -> None:
    run, endless = Run(), list[Any]()
    endless.append(endless)
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for arguments in (endless, deep):
        a_call().argue(node_in(run), A, arguments)
    assert run.told == []


async def test_arguments_are_told_whole_or_not_at_all() -> None:
    run = Run()
    most = "ü" * (32 * 1024 - 1)
    a_call().argue(node_in(run), A, most + "x")
    assert run.told == []
    a_call().argue(node_in(run), A, most)
    assert len(run.told) == 1


@pytest.mark.parametrize(
    ("output", "result"),
    [
        ("text", "text"),
        ({"a": [1, "ü"]}, '{"a":[1,"ü"]}'),
        (3, "3"),
        (object(), ""),
        (None, None),
        (Command(goto="b"), None),
        (ToolMessage("m", tool_call_id="c"), "m"),
        (ToolMessage([{"type": "text", "text": "m"}], tool_call_id="c"), "m"),
        (ToolMessage("of another", tool_call_id="d"), "of another"),
        (Command(update={"messages": [ToolMessage("m", tool_call_id="c")]}), "m"),
        (Command(update={"messages": [ToolMessage("of another", tool_call_id="d")]}), None),
        ([ToolMessage("x", tool_call_id="d"), AIMessage("x"), ToolMessage("m", tool_call_id="c")],
            "m"),
        ("x" * 16 * 1024, "x" * 16 * 1024),
        ("x" * (16 * 1024 + 1), "x" * (16 * 1024 - 1) + "…"),
    ],
)  # fmt: skip
async def test_the_result_is_a_text_where_there_is_one(output: object, result: str | None) -> None:
    assert told(a_call(), output) == [Tool("c", "f", "a/x", "completed", "p", result=result)]


async def test_of_a_failure_only_that_it_is_one_is_told() -> None:
    failed = ToolMessage("secret", tool_call_id="c", status="error")
    other = ToolMessage("m", tool_call_id="d", status="error")
    assert (
        told(a_call(), failed, Command(update={"messages": [other, failed]}))
        == [Tool("c", "f", "a/x", "failed", "p")] * 2
    )


def test_a_run_is_inside_the_innermost_call_around_it() -> None:
    calls, outer, inner, step, deepest = ToolCalls(), uuid4(), uuid4(), uuid4(), uuid4()
    calls.runs_in(outer, None)
    calls.runs_in(inner, outer)
    calls.runs_in(step, inner)
    calls.runs_in(deepest, step)
    assert calls.around(deepest) is None
    calls.running[outer] = a_call(id="o\ud800")
    assert [calls.around(run) for run in (outer, deepest)] == ["o?", "o?"]
    calls.running[inner] = a_call(id="i")
    assert [calls.around(run) for run in (outer, inner, deepest)] == ["o?", "i", "i"]
    calls.over(step)
    calls.over(uuid4())
    assert calls.around(deepest) is None
    assert calls.around(None) is None


def test_calls_that_are_named_outlast_a_pause() -> None:
    """All that is known of them, and nothing of those that run."""
    calls, again = ToolCalls(), ToolCalls()
    calls.announced = {"c": a_call(argued=True), "d": a_call(id="d", queue=B, parent=None)}
    again.recall(json.loads(json.dumps(calls.noted())))
    assert again == calls
    calls.running[uuid4()] = a_call()
    assert again.noted() == calls.noted()


@pytest.mark.parametrize(
    ("message", "thought"),
    [
        (AIMessage("x"), ""),
        (AIMessage("x", additional_kwargs={"other": "no"}), ""),
        (AIMessage("x", additional_kwargs={"reasoning_content": "hm"}), "hm"),
        (AIMessage("x", additional_kwargs={"reasoning": "hm"}), "hm"),
        (AIMessage("x", additional_kwargs={"reasoning_content": "", "reasoning": "hm"}), "hm"),
        (AIMessage("x", additional_kwargs={"reasoning": {"summary": [{"text": "h"}, "m"]}}), "hm"),
        (AIMessage([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "x"}]), "hm"),
        (AIMessage([{"type": "reasoning", "reasoning": "h"}, "x", {"type": "thinking",
            "text": "m"}]), "hm"),
        (AIMessage([{"type": "reasoning_content", "reasoning_content": {"text": "hm"}}]), "hm"),
        (AIMessage([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}]),
            "hm"),
        (AIMessage([{"type": "reasoning", "index": 0}]), ""),
        (AIMessage([{"type": "thinking", "thinking": 3}]), ""),
        (AIMessage([{"type": "text", "text": "x", "thinking": "no"}]), ""),
    ],
)  # fmt: skip
def test_a_thought_is_found_in_every_form(message: AIMessage, thought: str) -> None:
    assert thought_in(message) == thought


@pytest.mark.parametrize("name", [None, "", 3, ["n"]])
def test_data_without_a_name_gets_one(name: object) -> None:
    assert written_data(name, {"a": (1, 2)}, "a/x") == Data("data", {"a": [1, 2]}, "a/x")
    assert written_data("n", None, "a") == Data("n", None, "a")


def test_data_is_as_it_was_when_it_was_written() -> None:
    data = {"a": [1]}
    written = written_data("n", data, "a")
    data["a"].append(2)
    assert written.data == {"a": [1]}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("n", object()),
        ("n", float("inf")),
        ("n", "\ud800"),
        ("n\ud800", 1),
        ("n", {1, 2}),
    ],
)
def test_data_that_is_no_json_is_an_error_that_names_its_node(name: str, data: object) -> None:
    with pytest.raises(PipelineError, match="a/x"):
        written_data(name, data, "a/x")


def test_data_has_a_bound() -> None:
    most = "ü" * (32 * 1024 - 1)
    assert written_data("n", most, "a").data == most
    with pytest.raises(PipelineError, match="a/x"):
        written_data("n", most + "x", "a/x")


class Ends(BaseCallbackHandler):
    raise_error = run_inline = True

    def __init__(self) -> None:
        self.failed: list[bool] = []

    def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        self.failed.append(failed_quietly())


def find(where: str) -> str:
    """Finds."""
    if not where:
        raise ToolException("nowhere")
    return where


FIND = StructuredTool.from_function(find, handle_tool_error=True)


@pytest.mark.parametrize(("where", "failed"), [("here", False), ("", True)])
async def test_an_answer_made_of_an_error_is_known_without_a_calls_id(
    where: str, failed: bool
) -> None:
    ends = Ends()
    FIND.invoke({"where": where}, {"callbacks": [ends]})
    await FIND.ainvoke({"where": where}, {"callbacks": [ends]})
    assert ends.failed == [failed, failed]


def run(status: str = "error") -> bool:
    """A user's function, by the name of the method that runs a tool."""
    return failed_quietly()


def test_outside_of_a_tool_nothing_has_failed() -> None:
    assert run() is False


def test_an_agents_model_is_told_by_its_name_and_by_what_langchain_says_of_it() -> None:
    agents: dict[str, Any] = {"ls_integration": "langchain_create_agent"}
    assert is_agents_model("model", agents)
    assert not is_agents_model("tools", agents)
    assert not is_agents_model("model", {"ls_integration": "another"})
    assert not is_agents_model("model", {})


@pytest.mark.parametrize("response", [None, {}, 0])
def test_a_response_is_there_where_one_update_has_it(response: object) -> None:
    update, other = {"structured_response": response}, {"messages": list[object]()}
    command: Command[Any] = Command(update=update)
    outputs: list[object] = [update, command, [command], (other, update)]
    for output in outputs:
        assert lacks_its_response(output) is (response is None)
    assert lacks_its_response([Command(goto="x"), other, "text"])
