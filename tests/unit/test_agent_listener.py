"""What LangChain tells of tools and thoughts: where a model names them and where they run."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    ToolMessage,
)
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, LLMResult
from langchain_core.tools import StructuredTool, ToolException
from langgraph.errors import GraphInterrupt

from sluice.domain.events import Data, Reasoning, Token, Tool
from sluice.infrastructure.pipeline.agent_listener import AgentListener
from sluice.infrastructure.pipeline.listeners import Reader
from sluice.infrastructure.pipeline.running_node import RunningNode
from sluice.infrastructure.pipeline.tool_calls import ToolCalls
from sluice.infrastructure.pipeline.visibility import SILENT, Declared
from tests.unit.graph_runs import A, B, Run

TOOLS, THINKS = Declared(tools=True), Declared(reasoning=True)
CALL: Any = {"name": "f", "args": {"x": 1}, "id": "c"}
STARTED = Tool("c", "f", "a", "started")
ARGUED = Tool("c", "f", "a", "arguments", arguments='{"x":1}')


def run_of(a: Declared, b: Declared = SILENT, **options: Any) -> tuple[Run, AgentListener]:
    """Nodes `a` and `b` are running."""
    run = Run(**options)
    for namespace, declared in ((A, a), (B, b)):
        run.node_started(RunningNode(run, namespace, declared=declared))
    return run, AgentListener(run)


def model(listener: AgentListener, namespace: str = A, **fields: Any) -> UUID:
    run_id, metadata = uuid4(), {"langgraph_checkpoint_ns": namespace}
    given = {"run_id": run_id, "metadata": metadata, **fields}
    listener.on_chat_model_start({}, [], **given)
    return run_id


def piece(listener: AgentListener, run_id: UUID, message: Any) -> None:
    chunk = ChatGenerationChunk(message=message)
    listener.on_llm_new_token("", chunk=chunk, run_id=run_id)


def said(listener: AgentListener, run_id: UUID, message: BaseMessage) -> None:
    generations = [[ChatGeneration(message=message)]]
    listener.on_llm_end(LLMResult(generations=generations), run_id=run_id)


def tool(listener: AgentListener, namespace: str = A, **fields: Any) -> UUID:
    run_id = uuid4()
    given: dict[str, Any] = {
        "run_id": run_id,
        "metadata": {"langgraph_checkpoint_ns": namespace},
        "inputs": {"x": 1},
        "tool_call_id": "c",
    }
    listener.on_tool_start({"name": "f"}, "text", **given | fields)
    return run_id


def named(id: str | None = "c", name: str | None = "f") -> AIMessageChunk:
    calls = [tool_call_chunk(id=id, name=name, args="", index=0)]
    return AIMessageChunk(content="", tool_call_chunks=calls)


async def test_a_call_is_told_when_it_is_named_argued_when_it_is_whole_and_ended_by_its_tool() -> (
    None
):
    run, listener = run_of(TOOLS)
    asking = model(listener)
    piece(listener, asking, named())
    piece(listener, asking, named(None, None))
    piece(listener, asking, named())
    assert run.told == [STARTED]
    said(listener, asking, AIMessage("", tool_calls=[CALL]))
    assert run.told[1:] == [ARGUED]
    running = tool(listener)
    listener.on_tool_end("done", run_id=running)
    listener.on_tool_end("done", run_id=running)
    assert run.told[2:] == [Tool("c", "f", "a", "completed", result="done")]


@pytest.mark.parametrize(("call_id", "name"), [(None, "f"), ("c", None), ("", "f"), ("c", "")])
async def test_a_call_is_named_by_an_id_and_a_name(call_id: str | None, name: str | None) -> None:
    run, listener = run_of(TOOLS)
    piece(listener, model(listener), named(call_id, name))
    assert run.told == []


async def test_a_model_that_does_not_stream_names_its_calls_at_its_end() -> None:
    run, listener = run_of(TOOLS)
    said(listener, model(listener), AIMessage("", tool_calls=[CALL, {**CALL, "id": None}]))
    assert run.told == [STARTED, ARGUED]


async def test_calls_that_came_broken_have_failed() -> None:
    run, listener = run_of(TOOLS)
    broken: Any = [
        {"id": None, "name": "g", "args": "{", "error": ""},
        {"id": "d", "name": "g", "args": "{", "error": ""},
        {"id": "e", "name": None, "args": "{", "error": ""},
    ]
    said(listener, model(listener), AIMessage("", invalid_tool_calls=broken))
    assert run.told == [
        Tool("d", "g", "a", "started"),
        Tool("d", "g", "a", "failed"),
        Tool("e", "", "a", "started"),
        Tool("e", "", "a", "failed"),
    ]
    listener.on_tool_end("late", run_id=tool(listener, tool_call_id="d"))
    assert run.told[4] == Tool("d", "f", "a", "started"), "whoever runs it begins it anew"


async def test_a_model_that_fails_has_made_its_calls_fail() -> None:
    run, listener = run_of(TOOLS)
    asking = model(listener)
    piece(listener, asking, named())
    piece(listener, asking, named("d", "g"))
    tool(listener, tool_call_id="d")
    listener.on_llm_error(ValueError(), run_id=asking)
    listener.on_llm_error(ValueError(), run_id=asking)
    assert run.told[-1] == Tool("c", "f", "a", "failed")
    assert [event.status for event in run.told if isinstance(event, Tool)] == [
        "started", "started", "arguments", "failed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"tags": ["nostream"]},
        {"metadata": None},
        {"metadata": {"langgraph_checkpoint_ns": B}},
        {"metadata": {}},
        {"invocation_params": {"response_format": {"type": "json_object"}}},
    ],
)
async def test_of_a_silent_call_nothing_is_told(fields: Mapping[str, Any]) -> None:
    run, listener = run_of(Declared(tools=True, reasoning=True))
    asking = model(listener, **fields)
    piece(listener, asking, named())
    said(listener, asking, AIMessage("", additional_kwargs={"reasoning": "hm"}, tool_calls=[CALL]))
    assert run.told == []


async def test_what_is_no_message_of_a_model_says_nothing() -> None:
    run, listener = run_of(TOOLS)
    asking = model(listener)
    listener.on_llm_new_token("x", chunk=None, run_id=asking)
    listener.on_llm_end(LLMResult(generations=[]), run_id=asking)
    asking = model(listener)
    listener.on_llm_end(LLMResult(generations=[[Generation(text="x")]]), run_id=asking)
    said(listener, model(listener), HumanMessage("x"))
    said(listener, uuid4(), AIMessage("", tool_calls=[CALL]))
    piece(listener, uuid4(), named())
    assert run.told == []


def thinking(text: str) -> Any:
    return AIMessageChunk(content="", additional_kwargs={"reasoning_content": text})


async def test_a_thought_is_told_as_it_comes_and_not_again_at_the_end() -> None:
    run, listener = run_of(THINKS)
    asking = model(listener, "a:1|x:7")
    for text in ("h", "", "m\ud800"):
        piece(listener, asking, thinking(text))
    said(listener, asking, AIMessage("", additional_kwargs={"reasoning_content": "hm"}))
    assert run.told == [Reasoning("h", "a/x"), Reasoning("m?", "a/x")]
    asking = model(listener)
    said(listener, asking, AIMessage("", additional_kwargs={"reasoning_content": "hm"}))
    assert run.told[2:] == [Reasoning("hm", "a")]


async def test_what_langchain_leaves_out_is_told_by_the_client_and_not_again() -> None:
    run, listener = run_of(THINKS)
    asking = model(listener, "a:1|x:7")
    think = listener.thinker(asking)
    assert think is not None
    think("h")
    think("m")
    piece(listener, asking, thinking("hm"))
    said(listener, asking, AIMessage("", additional_kwargs={"reasoning_content": "hm"}))
    assert run.told == [Reasoning("h", "a/x"), Reasoning("m", "a/x")]
    assert listener.thinker(asking) is None, "it is over"


@pytest.mark.parametrize(
    ("declared", "reader"),
    [(TOOLS, "tap"), (SILENT, "tap"), (Declared(tools=True, reasoning=True), "events")],
)
async def test_a_client_has_nobody_to_tell_of_thoughts_that_are_not_shown(
    declared: Declared, reader: Reader
) -> None:
    _, listener = run_of(declared, reader=reader)
    assert listener.thinker(model(listener)) is None


async def test_a_node_shows_what_it_declares_and_nothing_else() -> None:
    thought = AIMessage("", additional_kwargs={"reasoning": "hm"}, tool_calls=[CALL])
    run, listener = run_of(THINKS)
    asking = model(listener)
    piece(listener, asking, named())
    said(listener, asking, thought)
    tool(listener)
    assert run.told == [Reasoning("hm", "a")]
    run, listener = run_of(TOOLS)
    asking = model(listener)
    piece(listener, asking, thinking("hm"))
    said(listener, asking, thought)
    assert run.told == [STARTED, ARGUED]
    run, listener = run_of(SILENT)
    said(listener, model(listener), thought)
    assert run.told == []


async def test_a1_shows_tools_and_no_thoughts() -> None:
    run, listener = run_of(Declared(tools=True, reasoning=True), reader="events")
    run.stage_started(A, {})
    asking = model(listener)
    piece(listener, asking, thinking("hm"))
    said(listener, asking, AIMessage("", tool_calls=[CALL]))
    assert run.told[1:] == [STARTED, ARGUED]


@pytest.mark.parametrize(
    ("fields", "started"),
    [
        ({}, Tool("c", "f", "a", "started")),
        ({"name": "g"}, Tool("c", "f", "a", "started")),
    ],
)
async def test_a_tool_that_no_model_named_is_told_where_it_runs(
    fields: Mapping[str, Any], started: Tool
) -> None:
    run, listener = run_of(TOOLS)
    tool(listener, **fields)
    assert run.told == [started, ARGUED]


@pytest.mark.parametrize(("serialized", "name", "known"), [(None, "g", "g"), ({}, None, "")])
async def test_a_tool_is_called_what_is_known_of_it(
    serialized: Any, name: str | None, known: str
) -> None:
    run, listener, run_id = *run_of(TOOLS), uuid4()
    metadata = {"langgraph_checkpoint_ns": A}
    listener.on_tool_start(serialized, "text", run_id=run_id, metadata=metadata, name=name)
    assert run.told == [
        Tool(str(run_id), known, "a", "started"),
        Tool(str(run_id), known, "a", "arguments", arguments='"text"'),
    ]


async def test_a_tool_of_a_silent_node_is_told_of_only_where_it_was_named() -> None:
    run, listener = run_of(TOOLS)
    said(listener, model(listener), AIMessage("", tool_calls=[CALL]))
    listener.on_tool_end("done", run_id=tool(listener, B))
    listener.on_tool_end("done", run_id=tool(listener, B, metadata=None))
    assert run.told == [STARTED, ARGUED]
    run, listener = run_of(SILENT, TOOLS)
    said(listener, model(listener), AIMessage("", tool_calls=[CALL]))
    listener.on_tool_end("done", run_id=tool(listener, B))
    assert [event.node for event in run.told if isinstance(event, Tool)] == ["b", "b", "b"]


@pytest.mark.parametrize(("error", "told"), [(ValueError("secret"), 1), (GraphInterrupt(), 0)])
async def test_a_tool_that_raises_has_failed_unless_it_waits(error: Exception, told: int) -> None:
    run, listener = run_of(TOOLS)
    running = tool(listener)
    listener.on_tool_error(error, run_id=running)
    listener.on_tool_error(error, run_id=running)
    assert run.told[2:] == [Tool("c", "f", "a", "failed")] * told


def find() -> str:
    """Finds."""
    raise ToolException("secret")


@pytest.mark.parametrize("call_id", [None, "c"])
async def test_a_tool_that_makes_an_answer_of_its_error_has_failed(call_id: str | None) -> None:
    run, listener = run_of(TOOLS)
    made = StructuredTool.from_function(find, handle_tool_error=True)
    given: Any = {"name": "find", "args": {}, "id": call_id, "type": "tool_call"}
    config: Any = {"callbacks": [listener], "metadata": {"langgraph_checkpoint_ns": A}}
    made.invoke(given if call_id else {}, config)
    assert [event.status for event in run.told if isinstance(event, Tool)] == [
        "started", "arguments", "failed",
    ]  # fmt: skip


async def test_a_call_inside_a_tool_names_the_call_that_it_is_inside() -> None:
    run, listener = run_of(TOOLS)
    outer, step = tool(listener, tool_call_id="o"), uuid4()
    listener.on_chain_start({}, {}, run_id=step, parent_run_id=outer)
    said(listener, model(listener, parent_run_id=step), AIMessage("", tool_calls=[CALL]))
    inner = tool(listener, parent_run_id=step)
    tool(listener, tool_call_id="d", parent_run_id=inner)
    by_id = {e.call_id: e.parent for e in run.told if isinstance(e, Tool)}
    assert by_id == {"o": None, "c": "o", "d": "c"}
    listener.on_tool_error(ValueError(), run_id=inner)
    tool(listener, tool_call_id="e", parent_run_id=step)
    listener.on_chain_end({}, run_id=step)
    tool(listener, tool_call_id="g", parent_run_id=step)
    again = uuid4()
    listener.on_chain_start({}, {}, run_id=again, parent_run_id=outer)
    listener.on_chain_error(ValueError(), run_id=again)
    tool(listener, tool_call_id="h", parent_run_id=again)
    listener.on_tool_end("x", run_id=outer)
    tool(listener, tool_call_id="i", parent_run_id=outer)
    by_id = {e.call_id: e.parent for e in run.told if isinstance(e, Tool)}
    assert [by_id[each] for each in "eghi"] == ["o", None, None, None]


async def test_a_silent_tool_hides_no_call_around_it_and_nothing_is_kept_of_what_is_over() -> None:
    run, listener = run_of(TOOLS)
    outer = tool(listener, tool_call_id="o")
    silent = tool(listener, B, tool_call_id="s", parent_run_id=outer)
    inner = tool(listener, tool_call_id="i", parent_run_id=silent)
    by_id = {e.call_id: e.parent for e in run.told if isinstance(e, Tool)}
    assert by_id == {"o": None, "i": "o"}
    listener.on_tool_end("x", run_id=inner)
    listener.on_tool_error(ValueError(), run_id=silent)
    listener.on_tool_end("x", run_id=outer)
    assert listener._calls == ToolCalls()


async def test_what_is_told_waits_behind_the_tokens_of_where_it_was_said() -> None:
    run, listener = run_of(Declared(tools=True, reasoning=True))
    run.token(B, "b", "1")
    run.token(A, "a", "2")
    asking = model(listener)
    piece(listener, asking, thinking("hm"))
    piece(listener, asking, named())
    tool(listener, tool_call_id="d")
    assert run.told == [Token("1", "b")]
    run.done({"answer": "12"})
    assert run.told[1:4] == [Token("2", "a"), Reasoning("hm", "a"), STARTED]


async def test_what_is_told_of_a_call_waits_where_it_was_named_wherever_it_runs() -> None:
    run, listener = run_of(TOOLS, TOOLS)
    said(listener, model(listener), AIMessage("", tool_calls=[CALL]))
    run.token(A, "a", "1")
    run.token(B, "b", "2")
    listener.on_tool_end("done", run_id=tool(listener, B))
    assert run.told[-1] == Tool("c", "f", "b", "completed", result="done")


def node_ran(
    listener: AgentListener,
    output: object,
    *,
    namespace: str = A,
    name: str = "a",
    failed: bool = False,
    **of: Any,
) -> None:
    run_id = uuid4()
    metadata = {"langgraph_node": namespace[0], "langgraph_checkpoint_ns": namespace, **of}
    listener.on_chain_start({}, {}, run_id=run_id, metadata=metadata, name=name)
    if failed:
        listener.on_chain_error(ValueError(), run_id=run_id)
    listener.on_chain_end(output, run_id=run_id)


RESULT = {
    "messages": [
        HumanMessage("x"),
        ToolMessage("of nobody", tool_call_id="n"),
        ToolMessage("done", tool_call_id="c"),
    ]
}


async def test_a_result_that_no_tool_of_langchains_gave_is_in_a_nodes_messages() -> None:
    run, listener = run_of(TOOLS)
    said(listener, model(listener), AIMessage("", tool_calls=[CALL]))
    node_ran(listener, RESULT)
    node_ran(listener, RESULT)
    assert run.told[2:] == [Tool("c", "f", "a", "completed", result="done")]


@pytest.mark.parametrize(
    "fields", [{"namespace": B, "name": "b"}, {"name": "step"}, {"failed": True}]
)
async def test_no_other_message_is_a_result(fields: dict[str, Any]) -> None:
    run, listener = run_of(TOOLS)
    said(listener, model(listener), AIMessage("", tool_calls=[CALL]))
    node_ran(listener, RESULT, **fields)
    assert run.told == [STARTED, ARGUED]


async def test_a_result_of_what_was_not_named_is_none() -> None:
    run, listener = run_of(TOOLS)
    node_ran(listener, RESULT)
    assert run.told == []


AGENT = {"langgraph_node": "model", "ls_integration": "langchain_create_agent"}


@pytest.mark.parametrize(
    ("name", "of", "response", "status"),
    [
        ("model", AGENT, None, "failed"),
        ("model", AGENT, {"x": 1}, "completed"),
        ("ask", {**AGENT, "langgraph_node": "ask"}, None, "completed"),
        ("model", {**AGENT, "ls_integration": "other"}, None, "completed"),
    ],
)
async def test_an_agents_model_that_answers_its_call_without_giving_its_response_has_failed_it(
    name: str, of: dict[str, Any], response: object, status: str
) -> None:
    run, listener = run_of(TOOLS)
    said(listener, model(listener), AIMessage("", tool_calls=[CALL]))
    node_ran(listener, {**RESULT, "structured_response": response}, name=name, **of)
    assert [event.status for event in run.told[2:] if isinstance(event, Tool)] == [status]


async def test_a_dispatched_event_is_what_a_node_writes() -> None:
    run, listener = run_of(Declared(data=True))
    metadata = {"langgraph_checkpoint_ns": "a:1|x:7"}
    listener.on_custom_event("n", [1], run_id=uuid4(), metadata=metadata)
    listener.on_custom_event("n", [2], run_id=uuid4(), metadata=None)
    listener.on_custom_event("n", [3], run_id=uuid4(), metadata={"langgraph_checkpoint_ns": B})
    assert run.told == [Data("n", [1], "a/x")]
