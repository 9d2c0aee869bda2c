"""docs/reference.md says what the docstrings say, of every name that users may use."""

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph

import sluice
import sluice.testing
from sluice.domain.errors import ChatError
from sluice.domain.ports import LLMClientPort
from sluice.infrastructure.pipeline.visibility import Declared
from sluice.testing import ScriptedLLM, run_graph

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs" / "reference.md").read_text()


def section(title: str) -> str:
    return re.split(r"^## ", REFERENCE.partition(f"## {title}\n")[2], flags=re.MULTILINE)[0]


def keys(text: str) -> list[str]:
    """What stands in the first column of a table."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def call(name: str, what: Any) -> str:
    """As it is called, without annotations and `self`."""
    signature = inspect.signature(what)
    parameters = [
        each.replace(annotation=inspect.Parameter.empty)
        for each in signature.parameters.values()
        if each.name != "self"
    ]
    empty = inspect.Signature.empty
    return f"{name}{signature.replace(parameters=parameters, return_annotation=empty)}"


def says(what: Any) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join((inspect.getdoc(what) or "").partition("\n\n")[0].split())


def rows() -> Iterator[str]:
    for name, method in inspect.getmembers(LLMClientPort, inspect.isfunction):
        if not name.startswith("_"):
            yield f"| `{call(name, method)}` | {says(method)} |"
    for name in sluice.__all__:
        value = getattr(sluice, name)
        if isinstance(value, type) and issubclass(value, ChatError):
            retryable = "yes" if value.retryable else "no"
            yield f"| `{name}` | `{value.code}` | {retryable} | {says(value)} |"
    yield f"| `ToolCall` | {says(sluice.ToolCall)} |"
    yield f"| `{call('silent', sluice.silent)}` | {says(sluice.silent)} |"
    yield f"| `{call('ScriptedLLM', ScriptedLLM)}` | {says(ScriptedLLM)} |"
    yield f"| `{call('run_graph', run_graph)}` | {says(run_graph)} |"
    yield f"| `RunResult` | {says(sluice.testing.RunResult)} |"
    yield f"| `Reply` | {below('Reply', sluice.testing)} |"


def below(name: str, module: Any) -> str:
    """The string under an assignment."""
    body = ast.parse(inspect.getsource(module)).body
    places = [i for i, node in enumerate(body) if ast.unparse(node).startswith(f"{name} = ")]
    text = body[places[0] + 1]
    assert isinstance(text, ast.Expr)
    return str(ast.literal_eval(text.value))


@pytest.mark.parametrize("row", list(rows()))
def test_the_reference_says_what_the_docstring_says(row: str) -> None:
    assert row in REFERENCE.splitlines()


def test_every_public_name_is_in_the_reference_and_no_other() -> None:
    named = {*sluice.__all__, *sluice.testing.__all__}
    assert {name for name in named if f"`{name}" not in REFERENCE} == set()
    tables = section("Names to import") + section("Errors") + section("Testing a graph")
    assert {key.partition("(")[0] for key in keys(tables)} <= named


def test_every_metadata_key_is_in_the_reference_and_no_other() -> None:
    assert set(keys(section("Metadata of a node"))) == {
        field.name for field in dataclasses.fields(Declared)
    }


async def test_a_graph_gets_the_keys_that_the_reference_names_and_its_result_is_read() -> None:
    given, left = map(keys, section("Keys of the state").split("It leaves"))
    typed: Any = TypedDict  # mypy wants its keys written out
    schema = typed("State", dict.fromkeys([*given, *left, "another"], Any), total=False)
    seen: dict[str, Any] = {}

    async def node(state: dict[str, Any]) -> dict[str, Any]:
        seen.update(state)
        return {key: f"the {key}" for key in left}

    graph: Any = StateGraph(schema)
    graph.add_node("node", node).add_edge(START, "node")
    run = await run_graph(lambda _: graph, "Why?", ScriptedLLM(), metadata={"tone": "kind"})
    assert set(seen) == set(given)
    done: Any = run.events[-1]
    assert {key: getattr(done, key) for key in left} == {key: f"the {key}" for key in left}
