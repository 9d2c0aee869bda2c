"""An agent's tools that a human approves, and tools that ask by themselves."""

from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage
from langgraph.types import interrupt

from sluice.domain.events import Json
from sluice.infrastructure.pipeline.savers.sqlite import SqliteSaver
from tests.doubles import ScriptedChatModel
from tests.paths.conftest import Path
from tests.paths.pauses.jobs import Job


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


async def test_a_call_that_a_human_answers_has_that_for_its_end(
    path: Path, saver: SqliteSaver
) -> None:
    """Its middleware's node answers it, after the pause, and no tool runs."""
    human = HumanInTheLoopMiddleware({"send": True})
    words = frozenset({"model", "tools", "HumanInTheLoopMiddleware.after_model"})
    build = agent([human], calls("send", "send", "send"), AIMessage("Done."))
    job = Job(path, build, saver, named={"tools": words})
    rejects: Json = {"type": "reject", "message": "no"}
    responds: Json = {"type": "respond", "message": "sent by hand"}
    decisions: list[Json] = [rejects, responds, {"type": "approve"}]
    assert await job.answers(await job.pauses(), {"decisions": decisions}) == "Done."
    ends = {tool.call_id: (tool.status, tool.result) for tool in job.told.tools}
    assert ends == {
        "call-0": ("failed", None),
        "call-1": ("completed", "sent by hand"),
        "call-2": ("completed", "sent to ann"),
    }


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
