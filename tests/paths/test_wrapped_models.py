"""A user's chat model that asks another one, and hands on what that one says, on every path."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool

from sluice.domain.events import Reset
from sluice.domain.ports import LLMClientPort
from sluice.offline_model.replies import Reply
from tests.paths import graphs
from tests.paths.conftest import Path
from tests.paths.graphs import SPEAKS, Build, State

PIECES = ["It ", "is 3."]
TOOLS = frozenset({"model", "tools"})


class Asking(BaseChatModel):
    """`inner` is asked as a whole."""

    inner: Any

    @property
    def _llm_type(self) -> str:
        return "asking"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *given: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.inner.invoke(messages))])

    async def _agenerate(
        self, messages: list[BaseMessage], *given: Any, **kwargs: Any
    ) -> ChatResult:
        message = await self.inner.ainvoke(messages)
        return ChatResult(generations=[ChatGeneration(message=message)])


class Streaming(Asking):
    """`inner` is asked piece by piece. What it says of its end is left out."""

    async def _astream(
        self, messages: list[BaseMessage], *given: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for each in self.inner.astream(messages):
            message = AIMessageChunk(
                content=each.content,
                usage_metadata=each.usage_metadata,
                tool_call_chunks=each.tool_call_chunks,
            )
            yield ChatGenerationChunk(message=message)


def asking(model: BaseChatModel, *, invoked: bool) -> Build:
    async def answer(state: State) -> dict[str, str]:
        if invoked:
            return {"answer": str((await model.ainvoke("?")).text)}
        return {"answer": "".join([str(each.text) async for each in model.astream("?")])}

    return lambda llm: graphs.chain(("answer", answer, SPEAKS))


@pytest.mark.parametrize("invoked", [True, False])
@pytest.mark.parametrize("kinds", [[Asking], [Streaming], [Streaming, Streaming]])
async def test_what_is_handed_on_is_told_and_counted_once(
    path: Path, kinds: list[type[Asking]], invoked: bool
) -> None:
    model: BaseChatModel = path.chat_model()
    for kind in kinds:
        model = kind(inner=model)
    path.model.script(Reply(pieces=PIECES))
    told = await path.tell(asking(model, invoked=invoked))
    assert [token.content for token in told.tokens] == PIECES * path.speaks
    assert told.done.usage is not None
    assert (told.done.usage.output_tokens, told.done.finish_reason) == (2, "stop")


class Ending(Streaming):
    """Has words of its own, too."""

    async def _astream(
        self, messages: list[BaseMessage], *given: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for chunk in super()._astream(messages):
            yield chunk
        yield ChatGenerationChunk(message=AIMessageChunk(content=" Over."))


async def test_what_a_model_adds_of_its_own_is_told(path: Path) -> None:
    path.model.script(Reply(pieces=PIECES))
    told = await path.tell(asking(Ending(inner=path.chat_model()), invoked=True))
    assert told.done.answer == "It is 3. Over."
    assert [token.content for token in told.tokens] == [*PIECES, " Over."] * path.speaks
    assert not any(isinstance(event, Reset) for event in told.events)


@pytest.mark.parametrize("kind", [Asking, Streaming])
async def test_a_call_that_is_handed_on_is_told_once(path: Path, kind: type[Asking]) -> None:
    @tool
    def add(a: int, b: int) -> str:
        """Adds."""
        return str(a + b)

    def build(llm: LLMClientPort) -> Any:
        return create_agent(kind(inner=path.chat_model().bind_tools([add])), [add])

    path.model.script(Reply.calling("add", {"a": 1, "b": 2}), Reply(pieces=PIECES))
    named: Any = {"tools": TOOLS}
    told = await path.tell(build, speaking=frozenset({"model"}), named=named)
    assert told.done.answer == "It is 3."
    assert [each.status for each in told.tools] == ["started", "arguments", "completed"]
