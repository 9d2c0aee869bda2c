"""What is forgotten of a graph's checkpoints behind a job's end, and behind a deletion."""

import asyncio
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import pytest

from sluice.application import graph_states
from sluice.application.graph_states import ForgetThreads, GraphStates
from sluice.domain.chat import Job, Question, now
from sluice.domain.errors import Unavailable
from sluice.domain.graph_state import Head
from tests.doubles import a_job

HEAD = Head("chat", "1")


class Heads:
    """A HeadPort with one chat, whose graph stands at `used`."""

    def __init__(self, *used: str, deleted: Collection[str] = ()) -> None:
        self._used, self._deleted = used, list(deleted)
        self.since: list[datetime] = []
        self.asked: list[Job] = []
        self.gone: list[str] = []

    async def begin(self, job: Job) -> Head:
        self.asked.append(job)
        return HEAD

    async def in_use(self, job: Job, since: datetime) -> Collection[str]:
        self.asked.append(job)
        self.since.append(since)
        return self._used

    async def leave(self, thread_id: str) -> None:
        self._deleted.append(thread_id)

    async def deleted(self) -> Collection[str]:
        return self._deleted

    async def forgotten(self, thread_id: str) -> None:
        self.gone.append(thread_id)


class Checkpoints:
    """A CheckpointPort that remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.jobs: list[str] = []
        """Behind which it was pruned."""

    async def forget(self, thread_id: str) -> None:
        self.told.append(("forget", thread_id))

    async def prune(self, thread_id: str, keep: Collection[str], job_id: str) -> None:
        self.told.append(("prune", thread_id, *keep))
        self.jobs.append(job_id)


class Away(Checkpoints):
    """A store that is away, or that never answers."""

    def __init__(self, *, hangs: bool = False) -> None:
        super().__init__()
        self._hangs = hangs

    async def forget(self, thread_id: str) -> None:
        await super().forget(thread_id)
        if self._hangs:
            await asyncio.Event().wait()
        raise Unavailable("away")


def states(
    heads: Heads, checkpoints: Checkpoints, *, keeps: bool, leaves: bool, **options: Any
) -> GraphStates:
    return GraphStates(heads, checkpoints, keeps=keeps, leaves=leaves, **options)


@pytest.mark.parametrize(
    ("keeps", "fields", "begins"),
    [(True, {}, HEAD), (False, {}, None), (True, {"history": ()}, None)],
    ids=["goes on from its state", "is given the text", "is in no chat"],
)
async def test_where_a_run_begins(
    fields: dict[str, Any], begins: Head | None, *, keeps: bool
) -> None:
    heads, job = Heads(), a_job(**fields)
    graph = states(heads, Checkpoints(), keeps=keeps, leaves=True)
    assert await graph.begin(job) == begins
    assert heads.asked == [job] * (begins is not None)


FORGOTTEN = [("forget", "job")]
"""A job that is given the chat's text has a thread of its own, by its id."""


@pytest.mark.parametrize(
    ("keeps", "leaves", "history", "asked", "told"),
    [
        (False, True, None, True, FORGOTTEN),
        (False, True, None, False, FORGOTTEN),
        (True, True, (), True, FORGOTTEN),
        (False, False, None, True, []),
        (True, True, None, False, []),
        (True, True, None, True, [("prune", "chat", "1", "2")]),
        (True, False, None, True, [("prune", "chat", "1", "2")]),
    ],
)
async def test_what_is_tidied_up_behind_a_job(
    history: tuple[()] | None, told: list[Any], *, keeps: bool, leaves: bool, asked: bool
) -> None:
    heads, checkpoints = Heads("1", "2"), Checkpoints()
    job = a_job(id="job", history=history)
    question = Question(job, head=HEAD if keeps and history is None else None) if asked else None
    graph = states(heads, checkpoints, keeps=keeps, leaves=leaves)
    assert graph.has_left(job, question) == bool(told)
    await graph.tidy(job, question)
    assert checkpoints.told == told


async def test_a_run_without_a_head_of_a_graph_that_leaves_nothing_has_nothing_to_tidy() -> None:
    checkpoints, job = Checkpoints(), a_job()
    graph = states(Heads("1"), checkpoints, keeps=True, leaves=False)
    assert not graph.has_left(job, Question(job))
    await graph.tidy(job, Question(job))
    assert checkpoints.told == []


@pytest.mark.parametrize(
    ("used", "prunable", "told"),
    [
        ([], True, [("forget", "chat")]),
        ([], False, [("forget", "chat")]),
        (["1"], True, [("prune", "chat", "1")]),
        (["1"], False, []),
    ],
    ids=["deleted", "deleted and not prunable", "pruned", "not prunable"],
)
async def test_a_thread_whose_chat_is_gone_is_forgotten_whole(
    used: list[str], told: list[Any], *, prunable: bool
) -> None:
    checkpoints, job = Checkpoints(), a_job()
    heads = Heads(*used)
    graph = states(heads, checkpoints, keeps=True, leaves=True, prunable=prunable)
    await graph.tidy(job, Question(job, head=HEAD))
    assert checkpoints.told == told
    assert checkpoints.jobs == [job.id] * (("prune", "chat", "1") in told)
    assert heads.asked == [job]


async def test_a_checkpoint_is_kept_for_retries_an_hour_longer_than_a_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = now()
    monkeypatch.setattr(graph_states, "now", lambda: at)
    heads, job = Heads("1"), a_job()
    for options in ({}, {"retention": 60}):
        graph = states(heads, Checkpoints(), keeps=True, leaves=True, **options)
        await graph.tidy(job, Question(job, head=HEAD))
    hour, minute = timedelta(hours=1), timedelta(minutes=1)
    assert [at - since for since in heads.since] == [2 * hour, hour + minute]


@pytest.mark.parametrize(("hangs", "why"), [(False, "Unavailable"), (True, "TimeoutError")])
async def test_a_store_that_is_away_holds_no_chats_place_for_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, why: str, *, hangs: bool
) -> None:
    monkeypatch.setattr(graph_states, "_PATIENCE_SECONDS", 0.01)
    job = a_job()
    async with asyncio.timeout(5):
        await states(Heads(), Away(hangs=hangs), keeps=False, leaves=True).tidy(job, None)
    assert f"checkpoints of job {job.id} stay: {why}" in caplog.text


@pytest.mark.parametrize(
    ("keeps", "history", "left"), [(False, None, ["job"]), (True, (), ["job"]), (True, None, [])]
)
async def test_what_stays_of_a_job_alone_is_forgotten_later_and_the_next_job_tidies_up_its_chats(
    history: tuple[()] | None, left: list[str], *, keeps: bool
) -> None:
    heads, job = Heads(), a_job(id="job", history=history)
    question = Question(job, head=HEAD if keeps and history is None else None)
    await states(heads, Away(), keeps=keeps, leaves=True).tidy(job, question)
    assert await heads.deleted() == left


class Gone(Heads):
    """A store that never answers to what a job leaves."""

    async def leave(self, thread_id: str) -> None:
        await asyncio.Event().wait()


async def test_nor_does_it_hold_it_for_long_where_that_cannot_be_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(graph_states, "_PATIENCE_SECONDS", 0.01)
    job = a_job()
    async with asyncio.timeout(5):
        await states(Gone(), Away(), keeps=False, leaves=True).tidy(job, None)
    assert "nor is that known later: TimeoutError" in caplog.text


async def test_threads_of_deleted_chats_are_forgotten_and_then_known_as_forgotten() -> None:
    heads, checkpoints = Heads(deleted=["a", "b"]), Checkpoints()
    await ForgetThreads(heads, checkpoints)()
    assert checkpoints.told == [("forget", "a"), ("forget", "b")]
    assert heads.gone == ["a", "b"]


async def test_threads_that_cannot_be_forgotten_now_are_so_the_next_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heads = Heads(deleted=["a", "b"])
    await ForgetThreads(heads, Away())()
    assert heads.gone == []
    assert "checkpoints of deleted chats stay: Unavailable" in caplog.text
