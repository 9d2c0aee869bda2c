"""Answers of other providers' models: why they ended, and which were cut."""

from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from sluice.domain.errors import UpstreamTruncated
from tests.doubles import done_of

from . import graphs
from .conftest import Path, Told, question
from .graphs import SPEAKS, State


class OthersModel(BaseChatModel):
    """Streams an answer by pieces; the last chunk has what its provider tells of the end."""

    model: str = "theirs"
    word: str = "stop_reason"
    ends: list[str | None]

    @property
    def _llm_type(self) -> str:
        return "others"

    def _generate(self, messages: list[BaseMessage], *given: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    async def _astream(self, messages: Any, *given: Any, **kwargs: Any) -> Any:
        told = {self.word: end} if (end := self.ends.pop(0)) else {}
        for content in ("half ", "an answer"):
            yield ChatGenerationChunk(message=AIMessageChunk(content=content))
        yield ChatGenerationChunk(message=AIMessageChunk(content="", response_metadata=told))


async def ask(
    path: Path, model: BaseChatModel, times: int, *, answer: str = "", stream: bool = False
) -> list[Told | None]:
    """One graph, asked several times, as a service is; None where it was cut."""

    async def node(state: State) -> dict[str, str]:
        if stream:
            text = "".join([str(chunk.text) async for chunk in model.astream("?")])
        else:
            text = str((await model.ainvoke("?")).text)
        return {"answer": answer or text}

    pipeline = path.pipeline(lambda llm: graphs.chain(("answer", node, SPEAKS)))
    answers: list[Told | None] = []
    for _ in range(times):
        told = Told()
        try:
            told.events.append(done_of(await pipeline.run(question(), told.events.append)))
        except UpstreamTruncated:
            answers.append(None)
        else:
            answers.append(told)
    return answers


@pytest.mark.parametrize("stream", [False, True])
async def test_a_model_that_always_tells_why_it_ended_and_then_does_not_was_cut(
    path: Path, stream: bool
) -> None:
    model = OthersModel(ends=["end_turn", "end_turn", "end_turn", None, "end_turn"])
    *before, cut, after = await ask(path, model, 5, stream=stream)
    assert [told and told.done.finish_reason for told in [*before, after]] == ["end_turn"] * 4
    assert cut is None


@pytest.mark.parametrize("ends", [[None] * 5, ["stop", "stop", None, "stop", None]])
async def test_a_model_that_need_not_tell_is_never_judged(
    path: Path, ends: list[str | None]
) -> None:
    answers = await ask(path, OthersModel(ends=ends), len(ends))
    assert [told and told.done.finish_reason for told in answers] == ends


async def test_what_was_cut_and_is_not_in_the_answer_is_no_error(path: Path) -> None:
    model = OthersModel(ends=["stop", "stop", "stop", None])
    answers = await ask(path, model, 4, answer="Sorry, once more.")
    assert [told and told.done.answer for told in answers] == ["Sorry, once more."] * 4


async def test_models_are_judged_by_what_they_have_told_themselves(path: Path) -> None:
    await ask(path, OthersModel(ends=["stop"] * 3), 3)
    (told,) = await ask(path, OthersModel(model="another", ends=[None]), 1)
    assert told is not None


class Whole(OthersModel):
    _astream = BaseChatModel._astream

    async def _agenerate(self, *given: Any, **kwargs: Any) -> ChatResult:
        end = self.ends.pop(0)
        message = AIMessage("answer", response_metadata={"stop_reason": end} if end else {})
        return ChatResult(generations=[{"message": message}])


async def test_an_answer_in_one_piece_is_not_judged(path: Path) -> None:
    answers = await ask(path, Whole(ends=["stop", "stop", "stop", None]), 4)
    assert [told and told.done.finish_reason for told in answers] == ["stop"] * 3 + [None]


@pytest.mark.parametrize("reason", ["error", "abort", "malformed_model_output"])
@pytest.mark.parametrize("kind", [OthersModel, Whole])
async def test_an_answer_whose_reason_names_a_failure_is_none(
    path: Path, kind: type[OthersModel], reason: str
) -> None:
    assert await ask(path, kind(ends=[reason, reason]), 2) == [None, None]


@pytest.mark.parametrize(
    "word", ["finish_reason", "stop_reason", "done_reason", "finishReason", "stopReason"]
)
async def test_each_providers_word_for_the_end_is_known(path: Path, word: str) -> None:
    (told,) = await ask(path, OthersModel(word=word, ends=["max_tokens"]), 1)
    assert told is not None
    assert told.done.finish_reason == "max_tokens"
