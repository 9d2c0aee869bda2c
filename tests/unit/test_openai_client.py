"""What A1's model client asks, gives, and reports to the node that it is called in."""

from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from math import inf
from typing import Any

import pytest
from pydantic import BaseModel

from sluice.application.model_calls import ModelCalls, NodeRun, current_node
from sluice.domain.errors import UpstreamTruncated
from sluice.domain.ports import ToolCall
from sluice.infrastructure.llm.decoding import Delta, ToolCallPart
from sluice.infrastructure.llm.openai_client import OpenAILLMClient
from sluice.infrastructure.llm.refusals import RESPONSE_FORMAT
from tests.unit.scripted_completions import COST, ScriptedCompletions

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "?"}]
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f"}}


class Node(NodeRun):
    def __init__(self, *, speaks: bool = True) -> None:
        super().__init__(ModelCalls(), "a", speaks=speaks)
        self.thoughts: list[str] = []

    def reasoning(self, text: str) -> None:
        self.thoughts.append(text)


@contextmanager
def inside(node: Node) -> Iterator[Node]:
    before = current_node.set(node)
    try:
        yield node
    finally:
        current_node.reset(before)


def client(*deltas: Delta | Exception) -> tuple[Any, ScriptedCompletions]:
    completions = ScriptedCompletions(*deltas)
    return OpenAILLMClient(completions), completions


async def streamed(llm: Any) -> list[str]:
    return [text async for text in llm.stream("?", system="Be brief.")]


async def test_a_streams_texts_are_given_and_its_thoughts_are_the_nodes() -> None:
    llm, completions = client(Delta("a"), Delta(reasoning="hm"), Delta("b", reasoning="so"))
    with inside(Node()) as node:
        assert await streamed(llm) == ["a", "b"]
    assert node.thoughts == ["hm", "so"]
    assert completions.asked == [(ASKED, {})]
    assert (node.calls.usage, node.calls.finish_reason) == (COST, "stop")
    assert await streamed(llm) == ["a", "b"]  # outside of a node, too


async def test_a_silent_nodes_finish_reason_is_not_the_answers() -> None:
    llm, _ = client(Delta("a"))
    with inside(Node(speaks=False)) as node:
        await streamed(llm)
    assert (node.calls.usage, node.calls.finish_reason) == (COST, None)


async def test_a_stream_that_is_left_closes_its_call_and_is_counted() -> None:
    llm, completions = client(Delta("a"), Delta("b"))
    with inside(Node()) as node:
        async with aclosing(llm.stream("?")) as texts:
            await anext(texts)
    assert completions.last.closed
    assert node.calls.usage == COST


async def test_all_that_a_call_hears_is_progress_of_a_node_that_may_not_be_idle() -> None:
    deltas = Delta("a"), Delta(reasoning="hm"), Delta("b")
    for ask in (streamed, lambda llm: llm.complete("?")):
        llm, _ = client(*deltas)
        signs: list[int] = []
        node = Node()
        node.progress = lambda signs=signs: signs.append(1)
        with inside(node):
            await ask(llm)
        assert len(signs) == 1 + len(deltas)  # that it begins, too


async def test_a_call_that_fails_is_counted() -> None:
    llm, _ = client(Delta("a"), UpstreamTruncated())
    with inside(Node()) as node, pytest.raises(UpstreamTruncated):
        await llm.complete("?")
    assert node.calls.usage == COST


async def test_a_completion_is_one_text_and_silent() -> None:
    llm, completions = client(Delta("a"), Delta(reasoning="hm"), Delta("b"))
    with inside(Node()) as node:
        assert await llm.complete("?", system="Be brief.") == "ab"
    assert completions.asked == [(ASKED, {})]
    assert (node.thoughts, node.calls.finish_reason) == ([], None)


async def test_a_tool_is_called_or_the_answer_is_a_text() -> None:
    part = ToolCallPart(0, "c", "f", '{"a": 1}')
    llm, completions = client(Delta(tool_calls=(part,)))
    assert await llm.call_tool("?", [TOOL], system="Be brief.") == ToolCall("f", {"a": 1})
    assert completions.asked == [(ASKED, {"tools": [TOOL]})]
    llm, _ = client(Delta("a"))
    assert await llm.call_tool("?", [TOOL]) == "a"


class City(BaseModel):
    name: str


async def test_a_structure_is_asked_for_and_refusals_are_remembered() -> None:
    llm, completions = client(Delta('{"name": "Ulm"}'))
    assert await llm.structured("?", City, system="Be brief.") == City(name="Ulm")
    [(messages, options)] = completions.asked
    assert (messages, list(options)) == (ASKED, ["response_format"])
    completions.refused.add(RESPONSE_FORMAT)
    await llm.structured("?", City)
    assert "response_format" not in completions.asked[-1][1]


DELTAS = Delta("a"), Delta("b"), Delta(reasoning="hm"), Delta("c")


@pytest.mark.parametrize(("hears", "seconds"), [(False, 1), (True, 0.1)])
async def test_pieces_that_no_user_sees_are_joined_ten_times_as_long(
    hears: bool, seconds: float
) -> None:
    """Who hears each text where it arrives gets those of a while, too; nobody an empty one."""
    llm, completions = client(*DELTAS)
    completions.interval, heard = 0.1, list[str]()
    completions.last.at_once = 2
    streamed = llm.stream("?", emit=heard.append if hears else None)
    assert [text async for text in streamed] == ["ab", "c"]
    assert completions.last.seconds == pytest.approx(seconds)
    assert completions.last.by_user is hears
    assert heard == (["a", "b", "c"] if hears else [])


async def test_texts_that_came_at_once_stay_apart_where_no_piece_is_waited_for() -> None:
    llm, completions = client(*DELTAS)
    completions.last.at_once = 2
    assert await streamed(llm) == ["a", "b", "c"]


async def test_a_whole_answer_wakes_nobody_before_its_end() -> None:
    llm, completions = client(Delta("a"))
    await llm.complete("?")
    assert completions.last.seconds == inf
    assert not completions.last.by_user
