"""What a user's own client reads beside its text: thoughts and tool calls, at the price of few
chunks.
"""

from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr
from pytest_mock import MockerFixture

from sluice.application.heard_calls import silent
from sluice.domain.events import Reasoning, Token
from sluice.infrastructure.pipeline.agent_listener import AgentListener
from sluice.offline_model import Reply
from sluice.offline_model.replies import tool_call_deltas

from . import graphs
from .conftest import Path
from .graphs import SPEAKS, State
from .test_users_clients import AT_ONCE, WAYS, Clients, clients

pytestmark = pytest.mark.usefixtures("instrumented")
__all__ = ["clients"]

REASONS = {"reasoning": True}
BOTH = {**REASONS, **SPEAKS}
WORDS = ["Let me ", "see."]


def thinking(word: str = "reasoning_content") -> Reply:
    return Reply(pieces=[*({word: text} for text in WORDS), "It ", "is."])


def build(clients: Clients, way: str, metadata: dict[str, Any]) -> Callable[..., Any]:
    async def answer(state: State) -> dict[str, str]:
        return {"answer": await getattr(clients, way)()}

    return lambda llm: graphs.chain(("answer", answer, metadata))


@pytest.mark.parametrize("word", ["reasoning_content", "reasoning"])
async def test_thoughts_are_told_once_before_the_answer_whoever_asks(
    word: str, path: Path, clients: Clients
) -> None:
    for way in WAYS:
        path.model.script(thinking(word))
        told = await path.tell(build(clients, way, BOTH))
        thoughts = ["".join(WORDS)] if way in AT_ONCE else WORDS
        expected = [Reasoning(text, "answer") for text in thoughts] if path.speaks else []
        assert (way, told.thoughts) == (way, expected)
        assert (way, told.done.answer) == (way, "It is.")
        if path.speaks:
            first = next(n for n, each in enumerate(told.events) if isinstance(each, Token))
            assert not any(isinstance(each, Reasoning) for each in told.events[first:])


async def test_a_node_that_only_thinks_aloud_says_no_token(path: Path, clients: Clients) -> None:
    for way in WAYS:
        path.model.script(thinking())
        told = await path.tell(build(clients, way, REASONS))
        assert (way, bool(told.thoughts)) == (way, path.speaks)
        assert (way, len(told.tokens)) == (way, path.speaks)


@pytest.mark.parametrize("metadata", [SPEAKS, {**SPEAKS, "tools": True}])
async def test_thoughts_are_silent_without_the_word(
    metadata: dict[str, Any], path: Path, clients: Clients
) -> None:
    for way in WAYS:
        path.model.script(thinking())
        told = await path.tell(build(clients, way, metadata))
        assert (way, "see" in str(told.events)) == (way, False)


async def test_thoughts_of_muted_calls_are_silent(path: Path, clients: Clients) -> None:
    async def answer(state: State) -> dict[str, str]:
        with silent():
            await clients.ainvoke()
            await clients.raw()
            await clients.raw_at_once()
        await clients.chat.ainvoke("Why?", {"tags": ["nostream"]})
        return {"answer": "done"}

    path.model.script(*[thinking()] * 4)
    told = await path.tell(lambda llm: graphs.chain(("answer", answer, BOTH)))
    assert "see" not in str(told.events)


class Retelling(ChatOpenAI):
    """As other makers' models above langchain-openai do: thoughts are kept beside the text."""

    def _convert_chunk_to_generation_chunk(
        self, chunk: Any, *given: Any
    ) -> ChatGenerationChunk | None:
        made = super()._convert_chunk_to_generation_chunk(chunk, *given)
        for choice in chunk.get("choices", ()):
            if made is not None and (text := choice["delta"].get("reasoning_content")):
                assert isinstance(made.message, AIMessageChunk)
                made.message.additional_kwargs["reasoning_content"] = text
        return made


async def test_thoughts_that_langchain_reports_too_are_told_once(path: Path) -> None:
    chat = Retelling(model="m", api_key=SecretStr("x"), base_url=path.model.base_url)

    async def answer(state: State) -> dict[str, str]:
        return {"answer": (await chat.ainvoke("Why?")).text}

    path.model.script(thinking())
    told = await path.tell(lambda llm: graphs.chain(("answer", answer, BOTH)))
    assert [thought.content for thought in told.thoughts] == WORDS * path.speaks


MANY = [f"{n} " for n in range(20)]


@pytest.mark.parametrize("others", [False, True])
async def test_an_agent_that_shows_its_tools_is_told_below_langchain_unless_others_listen(
    others: bool, path: Path, clients: Clients, mocker: MockerFixture
) -> None:
    @tool
    def weather(city: str) -> str:
        """The weather in a city."""
        return f"Rain in {city}"

    calling = tool_call_deltas("weather", {"city": "Paju"})
    path.model.script(
        Reply([{"reasoning_content": "Hm. "}, *MANY, *calling], "tool_calls"),
        Reply(pieces=MANY),
    )
    chunks = mocker.spy(AgentListener, "on_llm_new_token")
    listeners: Any = [BaseCallbackHandler()] if others else None
    chat = clients.chat.model_copy(update={"callbacks": listeners})
    shown: Any = {"tools": frozenset({"model", "tools"}), "reasoning": frozenset({"model"})}
    told = await path.tell(
        lambda llm: create_agent(chat, [weather]), speaking=frozenset({"model"}), named=shown
    )
    assert told.done.answer.endswith("".join(MANY))
    if path.speaks:
        assert [token.content for token in told.tokens] == MANY * 2
        assert [thought.content for thought in told.thoughts] == ["Hm. "]
    assert [(each.status, each.node) for each in told.tools] == [
        ("started", "model"), ("arguments", "model"), ("completed", "tools"),
    ]  # fmt: skip
    assert told.done.usage is not None
    few = not others and path.name != "A2-messages"
    assert (chunks.call_count < len(MANY)) == few
