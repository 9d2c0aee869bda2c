"""On both paths: what a run's answer is, what it is asked with, and what it has used."""

from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, AnyMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from pydantic import BaseModel

from sluice.domain.chat import Turn
from sluice.domain.errors import PipelineError
from sluice.domain.events import Usage
from sluice.domain.ports import LLMClientPort
from sluice.offline_model.replies import Reply
from tests.paths import graphs
from tests.paths.conftest import Path, question
from tests.paths.graphs import SPEAKS, State


async def test_usage_is_the_sum_over_all_calls(path: Path) -> None:
    from sluice.offline_model.replies import Usage as Counted

    path.model.script(
        Reply(pieces=["note"], usage=Counted(3, 1)), Reply(pieces=["answer"], usage=Counted(5, 2))
    )

    def build(llm: LLMClientPort) -> Any:
        return graphs.chain(
            ("note", graphs.noting(llm, "n"), {}), ("answer", graphs.streaming(llm), SPEAKS)
        )

    assert (await path.tell(build)).done.usage == Usage(8, 3, 11)


@pytest.mark.parametrize("how", ["streamed", "rebuilt", "rebuilt chunk", "canned"])
async def test_a_returned_message_is_told_once(path: Path, how: str) -> None:
    path.model.script(Reply(pieces=["to", "ld"]))
    told = await path.tell(graphs.returning(path.chat_model(), how))
    expected = ["a canned answer"] if how == "canned" else ["to", "ld"]
    assert told.done.answer == "".join(expected)
    assert [t.content for t in told.tokens] == expected * path.speaks


async def test_an_answer_that_goes_on_gets_its_rest_and_another_takes_all_back(path: Path) -> None:
    path.model.script(Reply(pieces=["dra", "ft"]))
    told = await path.tell(graphs.rewritten("draft, and more"))
    assert [t.content for t in told.tokens] == ["dra", "ft", ", and more"] * path.speaks
    path.model.script(Reply(pieces=["dra", "ft"]))
    told = await path.tell(graphs.rewritten("something else"))
    assert told.text == ("something else" if path.speaks else "")


async def test_a_canned_answer_from_state_is_told(path: Path) -> None:
    told = await path.tell(lambda llm: graphs.chain(("answer", lambda s: {"answer": "canned"}, {})))
    assert told.done.answer == "canned"
    assert told.done.finish_reason is None
    assert [(t.content, t.node) for t in told.tokens] == [("canned", "")] * path.speaks


async def test_a_graph_with_a_checkpointer_starts_anew_with_every_run(path: Path) -> None:
    path.model.script(Reply(pieces=["one"]), Reply(pieces=["two"]))
    saver = InMemorySaver()
    build = graphs.checkpointed(saver)
    assert (await path.tell(build)).done.answer == "one of 1"
    assert (await path.tell(build)).done.answer == "two of 1"
    assert (dict(saver.storage), dict(saver.blobs)) == ({}, {})  # texts that nobody would delete


async def test_messages_of_a_state_of_the_graphs_own_class_are_an_answer(path: Path) -> None:
    class Chat(BaseModel):
        messages: Annotated[list[AnyMessage], add_messages] = []

    def build(llm: LLMClientPort) -> Any:
        async def say(state: Chat) -> Chat:
            return Chat(messages=[AIMessage(await graphs.joined(llm.stream("say")))])

        graph = StateGraph(Chat)
        for name in ("one", "two"):
            graph.add_node(name, say, metadata=SPEAKS)
        return graph.add_edge(START, "one").add_edge("one", "two")

    path.model.script(Reply(pieces=["one "]), Reply(pieces=["two"]))
    told = await path.tell(build)
    assert told.done.answer == "one two"
    assert [token.content for token in told.tokens] == ["one ", "two"] * path.speaks


class Other(TypedDict):
    other: str


@pytest.mark.parametrize("key", ["answer", "messages"])
async def test_an_answer_that_an_output_schema_leaves_out_is_the_answer(
    path: Path, key: str
) -> None:
    class Both(Other, total=False):
        answer: str
        messages: Annotated[list[AnyMessage], add_messages]

    def build(llm: LLMClientPort) -> Any:
        async def node(state: Both) -> dict[str, Any]:
            said = "".join([text async for text in llm.stream("?")])
            return {key: said if key == "answer" else [AIMessage(said)], "other": "else"}

        graph = StateGraph(Both, output_schema=Other)
        return graph.add_node("answer", node, metadata=SPEAKS).add_edge(START, "answer")

    path.model.script(Reply(pieces=["a", "b"]))
    told = await path.tell(build)
    assert told.done.answer == "ab"
    assert [t.content for t in told.tokens] == ["a", "b"] * path.speaks


async def test_no_answer_is_a_pipeline_error(path: Path) -> None:
    with pytest.raises(PipelineError):
        await path.tell(lambda llm: graphs.chain(("mute", lambda s: {"notes": ["x"]}, {})))


async def test_the_chat_so_far_reaches_the_graph_but_is_not_its_answer(path: Path) -> None:
    seen: list[Any] = []

    def build(llm: LLMClientPort) -> Any:
        async def answer(state: State) -> dict[str, Any]:
            seen.extend((m.type, m.content) for m in state["messages"])
            return {"messages": [("ai", "new")], "notes": []}

        return graphs.chain(("answer", answer, {}))

    asked = question("third", Turn("user", "first"), Turn("assistant", "second"))
    assert (await path.tell(build, asked)).done.answer == "new"
    assert seen == [("human", "first"), ("ai", "second"), ("human", "third")]


async def test_a_job_names_its_own_model(path: Path) -> None:
    path.model.script(Reply(pieces=["x"]))
    await path.tell(graphs.answering, question(model="special"))
    assert path.model.requests[-1].body["model"] == "special"
