"""A job whose graph asks, with the real graph, its checkpoints, and the store of pauses."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

from sluice.application import chats as chats_module
from sluice.application.chats import DeleteChat
from sluice.application.graph_states import ForgetThreads
from sluice.domain.chat import Job
from sluice.domain.errors import Unavailable
from sluice.domain.events import Done, Event, Json, NeedsInput, Reset, StageStarted, Token
from sluice.infrastructure.chats.sqlite.pauses import SqlitePauses
from tests.unit.test_graph_states import House


class AskingHouse(House):
    """Its graph says a word, asks whether it may go on, and answers with all it was ever told."""

    def _built(self) -> Any:
        async def ask(state: MessagesState) -> dict[str, Any]:
            get_stream_writer()({"token": "May I? "})
            got = interrupt("may I?")
            texts = [str(m.content) for m in state["messages"] if isinstance(m, HumanMessage)]
            return {"messages": [AIMessage(f"May I? {'+'.join(texts)}: {got}")]}

        graph = StateGraph(MessagesState).add_node("ask", ask, metadata={"speaks": True})
        return graph.add_edge(START, "ask")

    async def asks(self, message: str) -> Job:
        """Runs the job until it waits."""
        job = await self.taken(message)
        assert await self.process(job) is not None
        return job

    async def answers(self, job: Job, value: Json) -> str:
        await self.give(job, value)
        assert await self.process(job) is None
        return await self.end(job)

    async def give(self, job: Job, value: Json) -> None:
        asked = [event for event in await self.told(job) if isinstance(event, NeedsInput)]
        await SqlitePauses(self.database).answer(job.id, asked[-1].input_id, value)

    async def told(self, job: Job) -> list[Event]:
        return [recorded.event for recorded in (await self.log.read(job.id)).events]


@pytest.fixture(params=["graph", "chat"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AskingHouse]:
    house = AskingHouse(tmp_path, keeps=request.param == "graph")
    await house.open()
    yield house
    await house.aclose()


def joined(events: list[Event]) -> str:
    since = max((n for n, event in enumerate(events) if isinstance(event, Reset)), default=0)
    return "".join(event.content for event in events[since:] if isinstance(event, Token))


async def test_a_job_asks_waits_and_goes_on_as_the_same_attempt(house: AskingHouse) -> None:
    job = await house.asks("a")
    assert await house.answers(job, "yes") == "May I? a: yes"
    told = await house.told(job)
    assert joined(told) == "May I? a: yes"
    assert not any(isinstance(event, Reset) for event in told)
    assert len([event for event in told if isinstance(event, StageStarted)]) == 1
    ids = {recorded.id.attempt for recorded in (await house.log.read(job.id)).events}
    assert ids == {1}


async def test_what_was_answered_is_in_the_next_turns_state_once(house: AskingHouse) -> None:
    await house.answers(await house.asks("a"), "yes")
    assert await house.answers(await house.asks("b"), "no") == "May I? a+b: no"


async def test_a_crash_after_the_answer_runs_the_same_resumption_again(
    house: AskingHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, keep = await house.asks("a"), house.chats.keep_answer

    async def dies(*_: Any) -> None:
        raise Unavailable("the process was killed here")

    monkeypatch.setattr(house.chats, "keep_answer", dies)
    await house.give(job, "yes")
    with pytest.raises(Unavailable):
        await house.process(job)
    monkeypatch.setattr(house.chats, "keep_answer", keep)
    await house.process(job)
    assert await house.end(job) == "May I? a: yes"
    assert joined(await house.told(job)) == "May I? a: yes"
    assert await house.answers(await house.asks("b"), "no") == "May I? a+b: no"


async def test_a_job_that_is_cancelled_while_it_waits_leaves_nothing_to_go_on_from(
    house: AskingHouse,
) -> None:
    job = await house.asks("a")
    await house.process(job, lambda: "user")
    assert await house.end(job) == "Cancelled"
    assert await house.answers(await house.asks("b"), "yes") == (
        "May I? b: yes" if house.keeps else "May I? a+b: yes"
    )


async def test_the_checkpoints_of_a_job_go_with_it(house: AskingHouse) -> None:
    await house.answers(await house.asks("a"), "yes")
    waiting = await house.asks("b")
    await house.process(await house.taken("never ran"), lambda: "user")
    assert await house.answers(waiting, "yes") == "May I? a+b: yes"
    assert isinstance((await house.told(waiting))[-1], Done)
    assert await house.kept() == (3 if house.keeps else 0)  # the root, and two answers


class NoQueue:
    """There is no worker: whoever deletes a chat waits in vain for its job to end."""

    async def cancel(self, *_: object) -> None: ...


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chats_module, "_END_TIMEOUT_SECONDS", 0)


@pytest.mark.usefixtures("impatient")
async def test_a_chat_that_is_deleted_while_its_job_waits_leaves_nothing(
    house: AskingHouse,
) -> None:
    await house.asks("a")
    forget = ForgetThreads(house.heads, house.checkpoints)
    delete = DeleteChat(house.chats, house.log, NoQueue(), forget)  # type: ignore[arg-type]
    await delete("ann", "chat")
    assert await house.kept() == 0


async def test_a_job_that_is_over_when_it_is_taken_up_leaves_nothing(house: AskingHouse) -> None:
    job = await house.asks("a")
    await house.log.delete("chat")
    assert await house.process(job) is None
    assert await house.kept() == (2 if house.keeps else 0)  # the chat's are pruned later


async def test_what_could_not_be_forgotten_at_a_jobs_end_is_so_later(
    house: AskingHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise Unavailable

    job = await house.asks("a")
    with monkeypatch.context() as patched:
        for what in ("forget", "prune"):
            patched.setattr(house.checkpoints, what, away)
        await house.answers(job, "yes")
    assert list(await house.heads.deleted()) == ([] if house.keeps else [job.id])
    await ForgetThreads(house.heads, house.checkpoints)()
    assert await house.kept() == (3 if house.keeps else 0)
