"""A user's project that has packages by the names of Sluice's layers, and tests of its own.

    python -m tests.live.layered_project FOLDER

writes it there; its graph is `domain.graph:build`.
"""

import sys
from pathlib import Path

GRAPH = """\
from typing import TypedDict

from application.question import asked
from infrastructure.greeting import GREETING
from interfaces.texts import SIGNED
from langgraph.graph import START, StateGraph

from sluice import LLMClientPort


class State(TypedDict, total=False):
    message: str
    answer: str


def build(llm: LLMClientPort) -> StateGraph[State]:
    async def answer(state: State) -> State:
        said = [piece async for piece in llm.stream(asked(state["message"]), system=SIGNED)]
        return {"answer": "".join(said)}

    async def greet(state: State) -> State:
        return {"answer": GREETING + state["answer"]}

    return (
        StateGraph(State)
        .add_node("answer", answer, metadata={"speaks": True})
        .add_node("greet", greet)
        .add_edge(START, "answer")
        .add_edge("answer", "greet")
    )
"""

TESTS = """\
import asyncio

import pytest
from domain.graph import build

from sluice import UpstreamTruncated
from sluice.testing import run_graph


def test_the_answer_is_streamed(scripted_llm):
    llm = scripted_llm(["It ", "rains"])
    run = asyncio.run(run_graph(build, "weather", llm))
    assert run.answer == "Hello! It rains"
    assert "".join(token.content for token in run.tokens) == run.answer
    assert llm.prompts[0][0] == "weather?"


def test_half_an_answer_is_none(scripted_llm):
    with pytest.raises(UpstreamTruncated):
        asyncio.run(run_graph(build, "weather", scripted_llm(["It ", UpstreamTruncated()])))
"""

FILES = {
    "domain/__init__.py": "",
    "domain/graph.py": GRAPH,
    "application/__init__.py": "",
    "application/question.py": "def asked(message: str) -> str:\n    return message + '?'\n",
    "infrastructure/__init__.py": "",
    "infrastructure/greeting.py": "GREETING = 'Hello! '\n",
    "interfaces/__init__.py": "",
    "interfaces/texts.py": "SIGNED = 'You are kind.'\n",
    "test_graph.py": TESTS,
}


def write(folder: Path) -> None:
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
