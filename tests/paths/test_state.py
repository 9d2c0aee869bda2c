"""A graph that keeps its own state: what a turn begins with, and what it leaves."""

import asyncio
import subprocess
import sys
from operator import add
from pathlib import Path as FilePath
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel

from sluice.domain.chat import Job, Question, Turn
from sluice.domain.errors import PipelineError, StateLost, Unavailable
from sluice.domain.events import Event
from sluice.domain.graph_state import ROOT, Advanced, Head
from sluice.infrastructure.pipeline.savers.saver import Saver
from sluice.infrastructure.pipeline.savers.sqlite import SqliteSaver
from sluice.infrastructure.sqlite.checkpoints import SqliteCheckpoints
from tests.doubles import ScriptedChatModel
from tests.paths.conftest import Path

THREAD = Head("thread")


def asked(text: str, head: Head = THREAD, job_id: str = "") -> Question:
    job = Job(job_id or f"job of {text}", "chat", "ann", "A2", text, "request")
    return Question(job, [Turn("user", "never seen")], head)


class Chat:
    """Turns of one chat, on one path."""

    def __init__(self, path: Path, build: Any, saver: Saver) -> None:
        self.pipeline = path.pipeline(build, saver=saver, keeps=True)
        self.saver = saver
        self.speaks = path.speaks
        self.events: list[Event] = []

    async def turn(self, text: str, head: Head) -> Advanced:
        self.events.clear()
        outcome = await self.pipeline.run(asked(text, head), self.events.append)
        assert isinstance(outcome, Advanced)
        return outcome

    async def messages(self, head: Head) -> list[str]:
        at = {"configurable": {**head._asdict(), "checkpoint_ns": ""}}
        kept = await self.saver.aget_tuple(at)  # type: ignore[arg-type]
        assert kept is not None
        return [message.content for message in kept.checkpoint["channel_values"]["messages"]]


def echo(llm: object) -> object:
    """Answers with all it was ever asked."""

    async def answer(state: MessagesState) -> dict[str, Any]:
        texts = [str(m.content) for m in state["messages"] if isinstance(m, HumanMessage)]
        return {"messages": [AIMessage("+".join(texts))]}

    graph = StateGraph(MessagesState).add_node("answer", answer, metadata={"speaks": True})
    return graph.add_edge(START, "answer")


async def test_a_turn_goes_on_from_the_last_one_and_is_given_the_new_message_only(
    path: Path, saver: SqliteSaver
) -> None:
    chat = Chat(path, echo, saver)
    one = await chat.turn("a", THREAD)
    two = await chat.turn("b", one.head)
    assert (one.done.answer, two.done.answer) == ("a", "a+b")
    assert await chat.messages(two.head) == ["a", "a", "b", "a+b"]


async def test_a_turn_that_is_run_again_begins_where_it_began(
    path: Path, saver: SqliteSaver
) -> None:
    chat = Chat(path, echo, saver)
    one = await chat.turn("a", THREAD)
    first, again = await chat.turn("b", one.head), await chat.turn("b", one.head)
    assert again.done.answer == first.done.answer == "a+b"
    assert again.head != first.head
    assert await chat.messages(again.head) == ["a", "a", "b", "a+b"]
    assert (await chat.turn("first again", THREAD)).done.answer == "first again"


async def test_a_failed_and_a_cancelled_run_leave_nothing_to_be_seen(
    path: Path, saver: SqliteSaver
) -> None:
    waits = asyncio.Event()

    def build(llm: object) -> object:
        async def answer(state: MessagesState) -> dict[str, Any]:
            asked = str(state["messages"][-2].content)
            if asked == "fail":
                raise RuntimeError
            if asked == "wait":
                waits.set()
                await asyncio.Event().wait()
            return {"messages": [AIMessage(str(len(state["messages"])))]}

        async def note(state: MessagesState) -> dict[str, Any]:
            return {"messages": [AIMessage("noted")]}

        graph = StateGraph(MessagesState).add_node(note)
        graph.add_node("answer", answer, metadata={"speaks": True})
        return graph.add_edge(START, "note").add_edge("note", "answer")

    chat = Chat(path, build, saver)
    one = await chat.turn("a", THREAD)
    with pytest.raises(PipelineError):
        await chat.turn("fail", one.head)
    running = asyncio.create_task(chat.turn("wait", one.head))
    await asyncio.wait_for(waits.wait(), 5)
    running.cancel()
    await asyncio.wait([running])
    two = await chat.turn("b", one.head)
    assert await chat.messages(two.head) == ["a", "noted", "2", "b", "noted", "5"]
    assert two.done.answer == "5"


class Notes(TypedDict, total=False):
    message: str
    answer: str
    intent: str
    seen: Annotated[list[str], add]


async def test_an_answer_of_an_earlier_turn_is_not_told_again(
    path: Path, saver: SqliteSaver
) -> None:
    def build(llm: object) -> object:
        async def answer(state: Notes) -> Notes:
            if state["message"] == "nothing":
                return {"seen": ["nothing"]}
            return {"seen": [state["message"]], "answer": "the same", "intent": state["message"]}

        return StateGraph(Notes).add_node(answer).add_edge(START, "answer")

    chat = Chat(path, build, saver)
    one = await chat.turn("a", THREAD)
    assert (one.done.answer, one.done.intent) == ("the same", "a")
    two = await chat.turn("b", one.head)
    assert (two.done.answer, two.done.intent) == ("the same", "b")
    with pytest.raises(PipelineError):
        await chat.turn("nothing", two.head)


async def test_an_earlier_turns_message_is_no_answer(path: Path, saver: SqliteSaver) -> None:
    def build(llm: object) -> object:
        async def answer(state: MessagesState) -> dict[str, Any]:
            if state["messages"][-1].content == "nothing":
                return {"messages": []}
            return {"messages": [AIMessage("said")]}

        graph = StateGraph(MessagesState).add_node("answer", answer, metadata={"speaks": True})
        return graph.add_edge(START, "answer")

    chat = Chat(path, build, saver)
    one = await chat.turn("a", THREAD)
    with pytest.raises(PipelineError):
        await chat.turn("nothing", one.head)


async def test_a_head_that_is_gone_fails_and_is_no_empty_state(
    path: Path, saver: SqliteSaver
) -> None:
    chat = Chat(path, echo, saver)
    await chat.turn("a", THREAD)
    with pytest.raises(StateLost):
        await chat.turn("b", Head("thread", "1f1ec1c2-a455-6049-8000-000000000000"))


async def test_the_root_of_a_thread_suits_every_schema(path: Path, saver: SqliteSaver) -> None:
    class Strict(BaseModel):
        message: str
        seen: Annotated[list[str], add] = []
        answer: str = ""

    def build(llm: object) -> object:
        async def answer(state: Strict) -> dict[str, Any]:
            seen = [*state.seen, state.message]
            return {"answer": ",".join(seen), "seen": [state.message]}

        return StateGraph(Strict).add_node(answer).add_edge(START, "answer")

    chat = Chat(path, build, saver)
    one = await chat.turn("a", THREAD)
    assert (await chat.turn("b", one.head)).done.answer == "a,b"


async def test_an_agent_remembers_its_tools_results(path: Path, saver: SqliteSaver) -> None:
    def weather(city: str) -> str:
        """Of a city."""
        return f"sun in {city}"

    call = {"name": "weather", "args": {"city": "Seoul"}, "id": "call", "type": "tool_call"}
    says = [
        AIMessage("", tool_calls=[call]),
        AIMessage("Sunny."),
        AIMessage("Still."),
    ]
    model = ScriptedChatModel(says=says)
    chat = Chat(path, lambda llm: create_agent(model, [weather]), saver)
    one = await chat.turn("a", THREAD)
    two = await chat.turn("b", one.head)
    assert (one.done.answer, two.done.answer) == ("Sunny.", "Still.")
    assert await chat.messages(two.head) == ["a", "", "sun in Seoul", "Sunny.", "b", "Still."]


async def test_a_run_leaves_one_checkpoint(
    path: Path, saver: SqliteSaver, checkpoints: SqliteCheckpoints
) -> None:
    chat = Chat(path, echo, saver)
    head = THREAD
    heads = [Head("thread", ROOT).checkpoint_id]
    for text in "abc":
        head = (await chat.turn(text, head)).head
        heads.append(head.checkpoint_id)
    assert await kept(checkpoints) == heads


async def test_pruning_keeps_what_is_named_and_the_chat_goes_on(
    path: Path, saver: SqliteSaver, checkpoints: SqliteCheckpoints
) -> None:
    chat = Chat(path, echo, saver)
    one = await chat.turn("a", THREAD)
    two = await chat.turn("b", one.head)
    await checkpoints.prune("thread", {two.head.checkpoint_id}, "job")
    assert await kept(checkpoints) == [two.head.checkpoint_id]
    assert (await chat.turn("c", two.head)).done.answer == "a+b+c"
    await checkpoints.forget("thread")
    assert await kept(checkpoints) == []


@pytest.mark.parametrize("path", ["A2"], indirect=True)
async def test_what_cannot_be_forgotten_takes_nothing_with_it(
    path: Path, saver: SqliteSaver, checkpoints: SqliteCheckpoints
) -> None:
    """A saver's write that waits for its commit is not undone by a deletion that fails."""
    head = (await Chat(path, echo, saver).turn("a", THREAD)).head
    insert = "INSERT INTO checkpoints (thread_id, checkpoint_id) VALUES ('other', 'pending')"
    await checkpoints.connection.execute(insert)
    with pytest.raises(Unavailable):
        await checkpoints.forget("thread")
    await checkpoints.connection.commit()
    assert await kept(checkpoints) == [ROOT, head.checkpoint_id, "pending"]


async def test_a_deleted_state_is_not_in_the_file(
    path: Path, saver: SqliteSaver, checkpoints: SqliteCheckpoints, tmp_path: FilePath
) -> None:
    chat = Chat(path, echo, saver)
    await chat.turn("a secret of mine", THREAD)
    files = [tmp_path / f"a.db-state{end}" for end in ("", "-wal")]
    assert any(b"a secret of mine" in file.read_bytes() for file in files)
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    await checkpoints.forget("thread")
    assert not any(b"a secret of mine" in file.read_bytes() for file in files)


async def kept(checkpoints: SqliteCheckpoints) -> list[str]:
    query = "SELECT checkpoint_id FROM checkpoints ORDER BY checkpoint_id"
    async with checkpoints.connection.execute(query) as rows:
        return [row[0] async for row in rows]


def test_a_kept_state_is_read_as_what_its_schema_names_and_as_nothing_else() -> None:
    """In a process of its own: LangGraph asks when it is first imported."""
    program = """
import sluice.interfaces.processes.embedded
from langgraph.checkpoint.serde import _msgpack
assert _msgpack.STRICT_MSGPACK_ENABLED
"""
    subprocess.run([sys.executable, "-c", program], check=True)
