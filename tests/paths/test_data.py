"""What a node writes beside its text: as it was written, in its place, or with a clear error."""

import asyncio
import math
from typing import Any

import pytest
from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event
from langgraph.config import get_stream_writer

from sluice.domain.errors import PipelineError
from sluice.domain.events import Data, Token
from sluice.domain.ports import LLMClientPort
from tests.paths import graphs
from tests.paths.conftest import Path
from tests.paths.graphs import SPEAKS, State

DATA = {"data": True}


def node(write: Any) -> Any:
    """A node that writes, between two that are the answer's."""

    async def run(state: State) -> dict[str, str]:
        written = write(get_stream_writer())
        if asyncio.iscoroutine(written):
            await written
        return {"answer": "done"}

    return run


def writing(write: Any, metadata: dict[str, Any] | None = None) -> Any:
    metadata = DATA if metadata is None else metadata
    return lambda llm: graphs.chain(("find", node(write), metadata))


async def test_data_comes_as_it_was_written_under_its_name_in_order_with_tokens(path: Path) -> None:
    def write(tell: Any) -> None:
        tell({"token": "a"})
        tell({"data": {"title": "무색", "pages": [1, 2.5, None, True]}, "name": "source"})
        tell({"token": "b"})
        tell({"data": "last", "token": "c"})

    told = await path.tell(
        lambda llm: (
            graphs.chain(("find", node(write), {**DATA, **SPEAKS}))
            .add_node("end", lambda _: {"answer": "abc"})
            .add_edge("find", "end")
        )
    )
    assert told.data == [
        Data("source", {"title": "무색", "pages": [1, 2.5, None, True]}, "find"),
        Data("data", "last", "find"),
    ]
    kinds = [type(e).__name__[0] for e in told.events if isinstance(e, Token | Data)]
    assert "".join(kinds) == ("TDTTD" if path.speaks else "DD")


@pytest.mark.parametrize("name", [None, "", 5, ["a"]])
async def test_data_without_a_name_is_called_data(path: Path, name: Any) -> None:
    told = await path.tell(writing(lambda tell: tell({"data": 1, "name": name})))
    assert told.data == [Data("data", 1, "find")]


@pytest.mark.parametrize("metadata", [{}, SPEAKS, {"tools": True, "reasoning": True}])
async def test_data_is_silent_without_the_word(path: Path, metadata: dict[str, Any]) -> None:
    told = await path.tell(writing(lambda tell: tell({"data": "CANARY"}), metadata))
    assert "CANARY" not in str(told.events)


async def test_what_a_silent_node_writes_need_be_no_json(path: Path) -> None:
    told = await path.tell(writing(lambda tell: tell({"data": object()}), SPEAKS))
    assert told.data == []


async def test_other_things_that_a_node_writes_are_nobodys(path: Path) -> None:
    def write(tell: Any) -> None:
        for chunk in ("data", {"other": 1}, ["data"], None):
            tell(chunk)

    assert (await path.tell(writing(write))).data == []


async def test_data_stays_as_it_was_when_it_was_written(path: Path) -> None:
    async def write(tell: Any) -> None:
        found = ["a"]
        tell({"data": found})
        found.append("b")
        tell({"data": found})

    told = await path.tell(writing(write))
    assert [each.data for each in told.data] == [["a"], ["a", "b"]]


async def test_events_that_langchain_dispatches_are_data_too(path: Path) -> None:
    async def write(tell: Any) -> None:
        tell({"data": 1})
        await adispatch_custom_event("found", {"n": 2})
        tell({"data": 3})

    told = await path.tell(writing(write))
    assert told.data == [
        Data("data", 1, "find"),
        Data("found", {"n": 2}, "find"),
        Data("data", 3, "find"),
    ]


async def test_a_synchronous_nodes_data_comes_in_order(path: Path) -> None:
    def run(state: State) -> dict[str, str]:
        tell = get_stream_writer()
        for number in range(20):
            if number % 2:
                tell({"data": number})
            else:
                dispatch_custom_event("data", number)
        return {"answer": "done"}

    told = await path.tell(lambda llm: graphs.chain(("find", run, DATA)))
    assert [each.data for each in told.data] == list(range(20))


def deep() -> Any:
    inner: list[Any] = []
    for _ in range(100_000):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    "data",
    [object(), {1, 2}, math.nan, "\ud800", deep(), "x" * 65_535, "é" * 33_000, b"bytes"],
    ids=["object", "set", "NaN", "surrogate", "deep", "too large", "too large in bytes", "bytes"],
)
@pytest.mark.parametrize("caught", [False, True])
async def test_data_that_cannot_be_told_ends_the_job_in_an_error_that_names_the_node(
    path: Path, data: Any, caught: bool
) -> None:
    def write(tell: Any) -> None:
        tell({"data": "before"})
        try:
            tell({"data": data})
        except PipelineError:
            if not caught:
                raise

    with pytest.raises(PipelineError, match="node find has written data"):
        await path.tell(writing(write))


async def test_an_event_of_langchains_that_cannot_be_told_ends_the_job_likewise(
    path: Path,
) -> None:
    async def write(_: Any) -> None:
        await adispatch_custom_event("found", object())

    with pytest.raises(PipelineError, match="node find has written data"):
        await path.tell(writing(write))


async def test_data_of_exactly_the_bound_is_told(path: Path) -> None:
    data = "x" * (64 * 1024 - 2)
    told = await path.tell(writing(lambda tell: tell({"data": data, "name": "n"})))
    assert told.data == [Data("n", data, "find")]


async def test_data_waits_behind_the_held_tokens_of_its_own_node_and_of_no_other(
    path: Path,
) -> None:
    first_speaks, second_is_over = asyncio.Event(), asyncio.Event()

    async def first(tell: Any) -> None:
        tell({"token": "a"})
        first_speaks.set()
        async with asyncio.timeout(5):
            await second_is_over.wait()
        tell({"token": "b"})

    async def second(tell: Any) -> None:
        await first_speaks.wait()
        tell({"data": 1})
        tell({"token": "c"})
        tell({"data": 2})
        second_is_over.set()

    def build(llm: LLMClientPort) -> Any:
        metadata = {**DATA, **SPEAKS}

        def noting(write: Any) -> graphs.Node:
            async def run(state: State) -> dict[str, list[str]]:
                await write(get_stream_writer())
                return {"notes": ["x"]}

            return run

        graph = graphs.beside(
            ("first", noting(first), metadata), ("second", noting(second), metadata)
        )
        graph.add_node("end", lambda _: {"answer": "abc"})
        return graph.add_edge(["first", "second"], "end")

    told = await path.tell(build)
    spoken = [
        e.data if isinstance(e, Data) else e.content
        for e in told.events
        if isinstance(e, Data | Token)
    ]
    assert spoken == (["a", 1, "b", "c", 2] if path.speaks else [1, 2])
