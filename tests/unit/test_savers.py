"""What our savers add to LangGraph's: a store that is away is waited for, and a run learns."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from pytest_mock import MockerFixture

from sluice.infrastructure.pipeline.place import Place, current_place
from sluice.infrastructure.pipeline.savers import postgres_saver, sqlite_saver
from sluice.infrastructure.pipeline.savers import saver as saving
from sluice.infrastructure.sqlite.checkpoints import SqliteCheckpoints
from tests.unit.small_graphs import MemorySaver

AT: RunnableConfig = {"configurable": {"thread_id": "thread", "checkpoint_ns": ""}}
METADATA: Any = {"source": "input", "step": 1, "parents": {}}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "_RETRY_SECONDS", 0)


async def kept(saver: MemorySaver) -> RunnableConfig:
    return await saver.aput(AT, empty_checkpoint(), METADATA, {})


async def test_whatever_is_asked_waits_until_its_store_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    saver = MemorySaver()
    stored = await kept(saver)
    for ask in (
        lambda: saver.aget_tuple(stored),
        lambda: kept(saver),
        lambda: saver.aput_writes(stored, [("a", 1)], "task"),
        lambda: anext(saver.alist(AT)),
    ):
        saver.left, saver.tries = 2, 0
        await ask()
        assert saver.tries == 3
    assert caplog.text.count("a run waits for its checkpoints: ConnectionError") == 8
    assert "secret" not in caplog.text


async def test_what_is_kept_is_found() -> None:
    saver = MemorySaver()
    stored = await kept(saver)
    await saver.aput_writes(stored, [("a", 1)], "task", "path")
    found = await saver.aget_tuple(stored)
    assert found is not None
    assert found.metadata == METADATA
    assert found.pending_writes == [("task", "a", 1)]
    assert [each.config async for each in saver.alist(AT)] == [found.config]
    await kept(saver)
    assert len([each async for each in saver.alist(AT, limit=1)]) == 1
    assert len([each async for each in saver.alist(None)]) == 2
    other: RunnableConfig = {"configurable": {"thread_id": "other", "checkpoint_ns": ""}}
    assert [each async for each in saver.alist(other)] == []


async def test_a_writes_place_among_tasks_is_handed_on() -> None:
    saver = MemorySaver()
    stored = await kept(saver)
    await saver.aput_writes(stored, [("a", 1)], "task")
    await saver.aput_writes(stored, [("b", 1)], "other", "~pull, x")
    (written,) = saver.writes.values()
    assert sorted(path for *_, path in written.values()) == ["", "~pull, x"]


@pytest.mark.parametrize(("waited", "gives_up"), [(60, False), (60.5, True)])
async def test_a_store_that_stays_away_is_waited_for_a_minute(
    monkeypatch: pytest.MonkeyPatch, waited: float, gives_up: bool
) -> None:
    times = [100.0, 100 + waited]
    clock = SimpleNamespace(monotonic=lambda: times.pop(0))
    monkeypatch.setattr(saving, "time", clock)
    saver = MemorySaver(outages=1)
    if gives_up:
        with pytest.raises(ConnectionError):
            await kept(saver)
    else:
        await kept(saver)
    assert saver.tries == 2 - gives_up


async def test_what_does_not_pass_is_raised_at_once() -> None:
    saver = MemorySaver()
    with pytest.raises(KeyError):
        await saver.aput({"configurable": {}}, empty_checkpoint(), METADATA, {})
    assert saver.tries == 1


async def test_a_run_learns_of_each_checkpoint_that_it_leaves() -> None:
    saver, place = MemorySaver(), Place("thread", None)
    token = current_place.set(place)
    try:
        stored = await kept(saver)
    finally:
        current_place.reset(token)
    assert place.checkpoint_id == stored["configurable"]["checkpoint_id"]
    await kept(saver)
    assert place.checkpoint_id == stored["configurable"]["checkpoint_id"]


async def test_sqlites_saver_leaves_its_checkpoints_in_the_file_that_it_is_given(
    tmp_path: Path,
) -> None:
    assert sqlite_saver(SqliteCheckpoints(None)) is None
    checkpoints = SqliteCheckpoints(tmp_path / "sluice.db")
    saver = sqlite_saver(checkpoints)
    assert saver is not None
    await checkpoints.open()
    try:
        await saver.aput(AT, empty_checkpoint(), METADATA, {})
        assert checkpoints.exists
    finally:
        await checkpoints.aclose()


async def test_postgres_saver_has_the_database_that_it_is_given(mocker: MockerFixture) -> None:
    made = mocker.patch("sluice.infrastructure.pipeline.savers.postgres.PostgresSaver")
    database = mocker.sentinel.database
    assert postgres_saver(database) is made.return_value
    made.assert_called_once_with(database)
