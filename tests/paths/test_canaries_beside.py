"""What a node shows beside its text: never without its word, and at every site as tokens are."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.tools import tool
from langgraph.config import get_stream_writer

from sluice.domain.events import Data, Reasoning, Tool
from sluice.domain.ports import LLMClientPort
from sluice.infrastructure.pipeline.visibility import WORDS, Word
from sluice.offline_model.replies import Reply
from tests.paths import graphs
from tests.paths.conftest import Path
from tests.paths.test_canaries import SITES, Say, Voice

CANARY = "CANARY"
KINDS: dict[Word, type] = {"tools": Tool, "reasoning": Reasoning, "data": Data}


@tool
async def look(at: str) -> str:
    """Looks."""
    return at


def saying(path: Path, word: Word, llm: LLMClientPort) -> Say:
    """Says all that can be said, of which one word is under test."""
    path.model.script(Reply(pieces=[{"reasoning_content": CANARY}, "x"]))

    async def say() -> None:
        match word:
            case "tools":
                await look.ainvoke({"at": CANARY})
            case "reasoning":
                await graphs.joined(llm.stream("think"))
            case "data":
                get_stream_writer()({"data": CANARY})
                await adispatch_custom_event("data", CANARY)

    return say


@pytest.mark.parametrize("word", KINDS)
@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("voice", ["silent", "speaking", "by setting"])
async def test_a_cell_shows_what_it_has_the_word_for_and_nothing_else(
    path: Path, voice: Voice, site: str, word: Word
) -> None:
    place = SITES[site]
    others: dict[str, Any] = {each: True for each in WORDS if each != word}

    def build(llm: LLMClientPort) -> Any:
        say: Callable[[], Awaitable[object]] = saying(path, word, llm)
        one: dict[str, Any] = {word: True}
        metadata = one if voice == "speaking" else others if voice == "silent" else {}
        graph = place.build(say, metadata)
        graph.add_node("end", lambda s: {"answer": "done"})
        return graph.add_edge("cell", "end")

    named = place.node if place.declared_inside else "cell"
    settings: Any = {word: frozenset({named})} if voice == "by setting" else {}
    told = await path.tell(build, named=settings)
    shown = [each for each in told.events if isinstance(each, KINDS[word])]
    if voice == "silent":
        assert CANARY not in str([e for e in told.events if isinstance(e, Tool | Reasoning | Data)])
        assert shown == []
    elif word == "reasoning":
        assert shown == path.speaks * [Reasoning(CANARY, place.node)]
    elif word == "data":
        assert shown == [Data("data", CANARY, place.node)] * 2
    else:
        looks = [each for each in told.tools if each.name == "look"]
        assert [(each.node, each.status) for each in looks] == [
            (place.node, status) for status in ("started", "arguments", "completed")
        ]
