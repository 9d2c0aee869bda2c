"""One job is one commit: a chat's graph goes on from what was answered, and from nothing else."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, MessagesState, StateGraph

from sluice.application.chats import DeleteChat
from sluice.application.graph_states import ForgetThreads, GraphStates
from sluice.application.metrics import JobMetrics
from sluice.application.pauses import Pauses
from sluice.application.process_chat import ProcessChat
from sluice.domain.chat import Chat, Job, Turn, now
from sluice.domain.errors import Unavailable
from sluice.domain.events import QUEUED, Done
from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.chats.sqlite.heads import SqliteHeads
from sluice.infrastructure.chats.sqlite.pauses import SqlitePauses
from sluice.infrastructure.event_log.memory import MemoryEventLog
from sluice.infrastructure.pipeline.graph import WatchedGraph
from sluice.infrastructure.pipeline.savers.sqlite import SqliteSaver
from sluice.infrastructure.pipeline.token_path import TokenPath
from sluice.infrastructure.sqlite.checkpoints import SqliteCheckpoints
from sluice.infrastructure.sqlite.database import SqliteDatabase
from tests.doubles import a_job

LONG_AGO = -7200
"""Of a retention in seconds, and its margin of an hour: nothing may be retried."""


class House:
    """A service's stores and its graph, which answers with all that it was ever asked."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.database = SqliteDatabase(folder / "a.db")
        self.checkpoints = SqliteCheckpoints(folder / "a.db")
        self.chats, self.log = SqliteChats(self.database), MemoryEventLog()
        self.heads = SqliteHeads(self.database)
        self.reached = asyncio.Event()
        self._options, self.keeps = options, bool(options.get("keeps", True))

    async def open(self) -> None:
        await self.database.open()
        await self.checkpoints.open()
        saver = SqliteSaver(self.checkpoints)
        graph = WatchedGraph(self._built(), new_saver=lambda: saver, keeps=self.keeps)
        options: dict[str, Any] = {"keeps": True, "leaves": True, **self._options}
        states = GraphStates(self.heads, self.checkpoints, **options)
        pauses = Pauses(SqlitePauses(self.database), self.log, timeout=60)
        self.process = ProcessChat(
            TokenPath(graph), self.log, self.chats, JobMetrics(), pauses, states=states
        )
        await self.chats.open(Chat("chat", "ann", None, now()))

    async def aclose(self) -> None:
        await self.checkpoints.aclose()
        await self.database.aclose()

    def _built(self) -> Any:
        async def note(state: MessagesState) -> dict[str, Any]:
            return {"messages": [AIMessage("noted")]}

        async def answer(state: MessagesState) -> dict[str, Any]:
            texts = [str(m.content) for m in state["messages"] if isinstance(m, HumanMessage)]
            self.reached.set()
            if texts[-1] == "fail":
                raise RuntimeError
            if texts[-1] == "wait":
                await asyncio.Event().wait()
            return {"messages": [AIMessage("+".join(texts))]}

        graph = StateGraph(MessagesState).add_node(note)
        graph.add_node("answer", answer, metadata={"speaks": True})
        return graph.add_edge(START, "note").add_edge("note", "answer")

    async def taken(self, message: str, **fields: Any) -> Job:
        job = a_job(message, **fields)
        await self.chats.add_question(job)
        await self.log.create(job, QUEUED)
        return job

    async def answer(self, message: str, **fields: Any) -> Job:
        job = await self.taken(message, **fields)
        await self.process(job)
        return job

    async def cancelled_midway(self, message: str, meanwhile: Any = None) -> Job:
        job, stopped = await self.taken(message), False
        self.reached.clear()
        running = asyncio.create_task(self.process(job, lambda: "user" if stopped else None))
        await asyncio.wait_for(self.reached.wait(), 5)
        if meanwhile is not None:
            await meanwhile()
        stopped = True
        running.cancel()
        await asyncio.wait([running])
        return job

    async def end(self, job: Job) -> str:
        """The answer, or how else it ended."""
        end = (await self.log.read(job.id)).events[-1].event
        return end.answer if isinstance(end, Done) else type(end).__name__

    async def asked(self, message: str, **fields: Any) -> str:
        return await self.end(await self.answer(message, **fields))

    async def kept(self) -> int:
        async with self.checkpoints.connection.execute("SELECT count(*) FROM checkpoints") as rows:
            async for row in rows:
                return int(row[0])
        return 0


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path)
    await house.open()
    yield house
    await house.aclose()


async def test_turns_build_on_each_other(house: House) -> None:
    assert [await house.asked(text) for text in "abc"] == ["a", "a+b", "a+b+c"]


async def test_the_next_question_sees_nothing_of_a_run_that_failed_or_was_cancelled(
    house: House,
) -> None:
    assert await house.asked("a") == "a"
    assert await house.asked("fail") == "Failed"
    assert await house.end(await house.cancelled_midway("wait")) == "Cancelled"
    assert await house.asked("b") == "a+b"


async def test_a_run_that_is_handed_back_begins_again_where_it_began(house: House) -> None:
    await house.answer("a")
    job = await house.taken("wait")
    running = asyncio.create_task(house.process(job))
    house.reached.clear()
    await asyncio.wait_for(house.reached.wait(), 5)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()
    head = await house.heads.begin(job)
    assert (await house.heads.begin(await house.taken("b"))) == head


async def test_a_crash_between_the_graphs_end_and_the_commit_repeats_the_turn_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.answer("a")
    job, keep = await house.taken("b"), house.chats.keep_answer

    async def dies(*_: Any) -> None:
        raise Unavailable("the process was killed here")

    monkeypatch.setattr(house.chats, "keep_answer", dies)
    with pytest.raises(Unavailable):
        await house.process(job)
    monkeypatch.setattr(house.chats, "keep_answer", keep)
    await house.process(job)
    assert await house.end(job) == "a+b"
    assert await house.asked("c") == "a+b+c"


async def test_a_crash_between_the_commit_and_the_end_repeats_the_turn_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.answer("a")
    job, keep = await house.taken("b"), house.chats.keep_answer

    async def dies(*given: Any) -> None:
        await keep(*given)
        raise Unavailable("the process was killed here")

    monkeypatch.setattr(house.chats, "keep_answer", dies)
    with pytest.raises(Unavailable):
        await house.process(job)
    monkeypatch.setattr(house.chats, "keep_answer", keep)
    await house.process(job)
    assert await house.end(job) == "a+b"
    assert await house.asked("c") == "a+b+c"


async def test_a_retry_replaces_its_turn_in_the_state(house: House) -> None:
    await house.answer("a")
    tried = await house.answer("b")
    assert await house.asked("b", retry_of=tried.id) == "a+b"
    assert await house.asked("c") == "a+b+c"


async def test_a_retry_of_an_earlier_question_changes_nothing_for_the_next(house: House) -> None:
    first = await house.answer("a")
    await house.answer("b")
    assert await house.asked("a", retry_of=first.id) == "a"
    assert await house.asked("c") == "a+b+c"


async def test_what_nobody_can_begin_at_is_pruned(tmp_path: Path) -> None:
    house = House(tmp_path, retention=LONG_AGO)
    await house.open()
    assert [await house.asked(text) for text in "abc"] == ["a", "a+b", "a+b+c"]
    assert await house.kept() == 1
    await house.aclose()


async def test_a_half_turn_is_pruned_by_the_next_one(house: House) -> None:
    await house.answer("a")
    await house.answer("fail")
    await house.answer("b")
    assert await house.kept() == 3  # the root, and two answers


async def test_where_checkpoints_build_on_each_other_none_is_pruned(tmp_path: Path) -> None:
    house = House(tmp_path, retention=LONG_AGO, prunable=False)
    await house.open()
    await house.asked("a")
    await house.asked("b")
    assert await house.kept() == 3
    await house.aclose()


async def test_a_deleted_chat_leaves_nothing_of_its_state(house: House) -> None:
    class NoQueue:
        async def cancel(self, *_: object) -> None: ...

    await house.answer("a")
    forget = ForgetThreads(house.heads, house.checkpoints)
    delete = DeleteChat(house.chats, house.log, NoQueue(), forget)  # type: ignore[arg-type]
    await delete("ann", "chat")
    assert await house.kept() == 0
    assert not await house.heads.deleted()


async def test_a_run_whose_chat_is_deleted_meanwhile_leaves_nothing(house: House) -> None:
    async def delete() -> None:
        await house.chats.delete("ann", "chat")
        await ForgetThreads(house.heads, house.checkpoints)()

    await house.cancelled_midway("wait", delete)
    assert await house.kept() == 0


async def test_a_job_that_is_in_no_chat_keeps_no_state(house: House) -> None:
    job = a_job("b", history=(Turn("user", "a"), Turn("assistant", "x")))
    await house.log.create(job, QUEUED)
    await house.process(job)
    assert await house.end(job) == "a+b"
    assert await house.kept() == 0


async def test_what_is_over_already_is_tidied_up_by_who_finds_it_so(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*_: Any) -> None:
        raise Unavailable("the process was killed here")

    job = a_job("b", history=())
    await house.log.create(job, QUEUED)
    with monkeypatch.context() as killed:
        killed.setattr(GraphStates, "tidy", dies)
        with pytest.raises(Unavailable):
            await house.process(job)
    assert (await house.end(job), await house.kept() > 0) == ("b", True)
    assert await house.process(job) is None
    assert await house.kept() == 0
