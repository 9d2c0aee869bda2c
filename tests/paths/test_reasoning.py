"""What a model thinks aloud: told from nodes that say so, on A2, and never part of an answer."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from sluice.application.model_calls import current_node
from sluice.domain.events import Reasoning, Token
from sluice.domain.ports import LLMClientPort
from sluice.offline_model.replies import Reply
from tests.doubles import ScriptedChatModel
from tests.paths import graphs
from tests.paths.conftest import Path
from tests.paths.graphs import SPEAKS, State

REASONS = {"reasoning": True}
BOTH = {**REASONS, **SPEAKS}
THINKING = Reply(
    pieces=[{"reasoning_content": "Let me "}, {"reasoning_content": "see."}, "It ", "is."]
)


def heard(path: Path, *texts: str, node: str = "answer") -> list[Reasoning]:
    return [Reasoning(text, node) for text in texts] if path.speaks else []


@pytest.mark.parametrize("way", ["llm", "ainvoke", "astream"])
async def test_reasoning_is_told_as_it_comes_before_the_answer(path: Path, way: str) -> None:
    path.model.script(THINKING)

    def build(llm: LLMClientPort) -> Any:
        async def answer(state: State) -> dict[str, str]:
            match way:
                case "llm":
                    return {"answer": await graphs.joined(llm.stream("x"))}
                case "ainvoke":
                    return {"answer": str((await path.chat_model().ainvoke("x")).text)}
            texts = [str(chunk.text) async for chunk in path.chat_model().astream("x")]
            return {"answer": "".join(texts)}

        return graphs.chain(("answer", answer, BOTH))

    told = await path.tell(build)
    assert told.thoughts == heard(path, "Let me ", "see.")
    assert told.done.answer == "It is."
    if path.speaks:
        said = [type(e) for e in told.events if isinstance(e, Reasoning | Token)]
        assert said == [Reasoning, Reasoning, Token, Token]


async def test_a_node_that_only_reasons_says_no_token(path: Path) -> None:
    path.model.script(THINKING)
    told = await path.tell(
        lambda llm: graphs.chain(
            ("think", graphs.noting(llm, "think"), REASONS), ("end", lambda _: {"answer": "x"}, {})
        )
    )
    assert told.thoughts == heard(path, "Let me ", "see.", node="think")
    assert [token.content for token in told.tokens] == ["x"] * path.speaks


@pytest.mark.parametrize("metadata", [SPEAKS, {**SPEAKS, "tools": True, "data": True}])
async def test_reasoning_is_silent_without_the_word(path: Path, metadata: dict[str, Any]) -> None:
    path.model.script(THINKING)
    told = await path.tell(lambda llm: graphs.chain(("answer", graphs.streaming(llm), metadata)))
    assert "see" not in str(told.events)


async def test_reasoning_of_silent_calls_is_silent(path: Path) -> None:
    path.model.script(THINKING, THINKING)

    def build(llm: LLMClientPort) -> Any:
        async def answer(state: State) -> dict[str, str]:
            await path.chat_model().ainvoke("x", {"tags": ["nostream"]})
            return {"answer": await llm.complete("x")}

        return graphs.chain(("answer", answer, BOTH))

    told = await path.tell(build)
    assert told.thoughts == []
    assert "see" not in str(told.events)


FORMS: dict[str, dict[str, Any]] = {
    "reasoning_content": {"additional_kwargs": {"reasoning_content": "why"}},
    "reasoning text": {"additional_kwargs": {"reasoning": "why"}},
    "reasoning summary": {
        "additional_kwargs": {"reasoning": {"id": "r", "summary": [{"text": "why"}]}}
    },
    "standard block": {"content": [{"type": "reasoning", "reasoning": "why"}]},
    "Responses block": {
        "content": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "why"}], "index": 0}
        ]
    },
    "thinking block": {"content": [{"type": "thinking", "thinking": "why", "signature": "s"}]},
    "Bedrock block": {
        "content": [{"type": "reasoning_content", "reasoning_content": {"text": "why"}}]
    },
}


class Thinking(ScriptedChatModel):
    """Streams its messages as single chunks."""

    async def _astream(self, *given: Any, **kwargs: Any) -> Any:
        message = self.says.pop(0)
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content=message.content, additional_kwargs=message.additional_kwargs
            )
        )


@pytest.mark.parametrize("kind", [Thinking, ScriptedChatModel], ids=["streamed", "whole"])
@pytest.mark.parametrize("form", FORMS)
async def test_reasoning_is_found_in_the_forms_of_langchains_integrations(
    path: Path, form: str, kind: type[ScriptedChatModel]
) -> None:
    fields = {"content": "", **FORMS[form]}
    thinker = kind(says=[AIMessage(**fields)])

    async def answer(state: State) -> dict[str, str]:
        await thinker.ainvoke("x")
        return {"answer": "done"}

    told = await path.tell(lambda llm: graphs.chain(("answer", answer, BOTH)))
    assert told.thoughts == heard(path, "why")


async def test_text_blocks_and_strange_ones_are_no_reasoning(path: Path) -> None:
    content: list[Any] = ["a", {"type": "text", "text": "b"}, {"type": "reasoning"}, {"x": "y"}]
    thinker = Thinking(says=[AIMessage(content)])

    async def answer(state: State) -> dict[str, str]:
        await thinker.ainvoke("x")
        return {"answer": "ab"}

    told = await path.tell(lambda llm: graphs.chain(("answer", answer, BOTH)))
    assert told.thoughts == []


async def test_a_client_that_nobody_listens_to_may_tell_its_reasoning_to_its_node(
    path: Path,
) -> None:
    async def answer(state: State) -> dict[str, str]:
        node = current_node.get()
        assert node is not None
        node.reasoning("hm")
        node.reasoning("")
        return {"answer": "done"}

    told = await path.tell(lambda llm: graphs.chain(("answer", answer, REASONS)))
    assert told.thoughts == heard(path, "hm")
