"""A call that a model has named: handed on by another model, and behind a pause."""

import json

import pytest
from langchain_core.messages import AIMessage

from sluice.domain.events import Tool
from sluice.infrastructure.pipeline.agent_listener import AgentListener
from sluice.infrastructure.pipeline.tool_calls import ToolCalls
from tests.unit.graph_runs import A, B
from tests.unit.test_agent_listener import (
    ARGUED,
    CALL,
    RESULT,
    STARTED,
    TOOLS,
    model,
    named,
    node_ran,
    piece,
    run_of,
    said,
    tool,
)

WHOLE = AIMessage("", tool_calls=[CALL])


@pytest.mark.parametrize("streamed", [True, False])
async def test_who_hands_a_call_on_has_not_named_it_anew(streamed: bool) -> None:
    run, listener = run_of(TOOLS)
    outer, inner = model(listener), model(listener)
    for asking in (inner, outer):
        if streamed:
            piece(listener, asking, named())
        said(listener, asking, WHOLE)
    assert run.told == [STARTED, ARGUED]
    listener.on_tool_end("done", run_id=tool(listener))
    assert run.told[2:] == [Tool("c", "f", "a", "completed", result="done")]
    assert listener._calls == ToolCalls()


async def test_in_another_node_a_call_of_that_id_is_another() -> None:
    run, listener = run_of(TOOLS, TOOLS)
    here, there = model(listener), model(listener, B)
    for asking in (here, there):
        piece(listener, asking, named())
    assert run.told == [STARTED, Tool("c", "f", "b", "started")]


async def test_it_fails_once_where_both_models_do() -> None:
    run, listener = run_of(TOOLS)
    outer, inner = model(listener), model(listener)
    piece(listener, inner, named())
    for failing in (inner, outer):
        listener.on_llm_error(ValueError(), run_id=failing)
    assert run.told == [STARTED, Tool("c", "f", "a", "failed")]


@pytest.mark.parametrize("namespace", [A, "a:1|x:7"])
async def test_it_is_ended_behind_a_pause(namespace: str) -> None:
    _, listener = run_of(TOOLS)
    said(listener, model(listener, namespace), WHOLE)
    note = json.loads(json.dumps(listener.noted()))
    run, _ = run_of(TOOLS)
    listener = AgentListener(run, note)
    assert listener.noted() == note
    node_ran(listener, RESULT)
    assert run.told == [Tool("c", "f", "a", "completed", result="done")]
    nothing = {"named": list[object]()}
    assert listener.noted() == nothing
    assert AgentListener(run).noted() == AgentListener(run, {}).noted() == nothing
