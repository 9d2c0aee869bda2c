"""On both paths: what a node or a model raises is an error of the alphabet."""

import asyncio
from typing import Any

import pytest
from langgraph.graph import END
from langgraph.types import Command

from sluice.domain.errors import ChatError, PipelineError, UpstreamTruncated
from sluice.domain.ports import LLMClientPort
from sluice.offline_model.faults import Fault
from sluice.offline_model.replies import Reply
from tests.paths import graphs
from tests.paths.conftest import Path
from tests.paths.graphs import SPEAKS, State


class Odd(BaseException):
    """Of no family that anybody catches."""


@pytest.mark.parametrize("threaded", [True, False])
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("secret"),
        TimeoutError(),
        KeyError("x"),
        SystemExit(3),
        KeyboardInterrupt(),
        Odd(),
    ],
    ids=repr,
)
async def test_a_node_that_raises_is_a_pipeline_error(
    path: Path, error: BaseException, threaded: bool
) -> None:
    """Even one that would have ended the process."""

    def broken(state: State) -> None:
        raise error

    async def broken_in_line(state: State) -> None:
        raise error

    node = broken if threaded else broken_in_line
    with pytest.raises(PipelineError):
        await path.tell(lambda llm: graphs.chain(("broken", node, {})))


async def test_a_node_that_ends_like_a_generator_is_a_pipeline_error(path: Path) -> None:
    """asyncio takes its GeneratorExit for an end like any other, and nothing would catch it."""

    async def leave(state: State) -> None:
        raise GeneratorExit

    with pytest.raises(PipelineError):
        await path.tell(lambda llm: graphs.chain(("leave", leave, {})))


@pytest.mark.parametrize(("times", "limit"), [(40, None), (40, 30), (20, 30)])
async def test_a_run_has_as_many_steps_as_langgraph_gives_it(
    path: Path, times: int, limit: int | None
) -> None:
    """LangChain's events would end it after 25."""

    def again(state: State) -> Command[str]:
        said = [*state.get("notes", []), "x"]
        more = len(said) < times
        return Command(update={"notes": ["x"], "answer": "ab"}, goto="again" if more else END)

    def build(llm: LLMClientPort) -> Any:
        graph = graphs.chain(("again", again, {"stage": False})).compile()
        return graph if limit is None else graph.with_config(recursion_limit=limit)

    if limit and limit < times:
        with pytest.raises(PipelineError):
            await path.tell(build)
    else:
        assert (await path.tell(build)).done.answer == "ab"


async def test_an_error_of_the_model_keeps_its_code_through_a_task_group(path: Path) -> None:
    def build(llm: LLMClientPort) -> Any:
        async def answer(state: State) -> dict[str, str]:
            async with asyncio.TaskGroup() as group:
                saying = group.create_task(graphs.joined(llm.stream("say")))
            return {"answer": saying.result()}

        return graphs.chain(("answer", answer, SPEAKS))

    path.model.script(Reply(pieces=["half"], fault=Fault.PROPER_END_HALF_WAY))
    with pytest.raises(UpstreamTruncated):
        await path.tell(build)


async def test_an_error_of_the_model_keeps_its_code_through_the_graph(path: Path) -> None:
    path.model.script(Reply(pieces=["half"], fault=Fault.PROPER_END_HALF_WAY))
    with pytest.raises(UpstreamTruncated):
        await path.tell(graphs.answering)


def test_every_error_has_a_public_text() -> None:
    assert all(error.public for error in ChatError.__subclasses__())
