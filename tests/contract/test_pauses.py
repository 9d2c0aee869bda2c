"""What every store of pauses promises: no answer of a human is lost, or counts twice."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from sluice.application.chat_ports import ChatPort, HeadPort
from sluice.application.pause_port import KeptPause, PausePort
from sluice.domain.chat import Chat, Turn, moment, now
from sluice.domain.errors import Conflict, NotFound, Superseded
from sluice.domain.events import Json
from sluice.domain.graph_state import Head, InputRequest, Pause
from sluice.infrastructure.chats.postgres.chats import PostgresChats
from sluice.infrastructure.chats.postgres.heads import PostgresHeads
from sluice.infrastructure.chats.postgres.pauses import PostgresPauses
from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.chats.sqlite.heads import SqliteHeads
from sluice.infrastructure.chats.sqlite.pauses import SqlitePauses
from sluice.infrastructure.postgres.database import PostgresDatabase
from sluice.infrastructure.sqlite.database import SqliteDatabase
from tests.contract.postgres import drop
from tests.doubles import a_job
from tests.strategies import JSON

JOB = a_job()
IN_AN_HOUR = moment(1_800_000_000_000_000)
PAUSE = Pause(
    Head("chat", "checkpoint"),
    (
        InputRequest("send", {"why": "무색 \x00"}, "approval", {"type": "boolean"}),
        InputRequest("name", "Who?", "text"),
    ),
    {"ask:1": "Let me see. "},
)
KEPT = KeptPause(PAUSE, 1, IN_AN_HOUR, 1.5)


@dataclass(frozen=True)
class Stores:
    chats: ChatPort
    pauses: PausePort
    heads: HeadPort
    without_retention: PausePort


@pytest.fixture(params=["sqlite", "sqlite in memory", "postgres"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        shared = PostgresDatabase(url, schema=f"test_{secrets.token_hex(8)}")
        await shared.open()
        await PostgresChats(shared).open(Chat("chat", "ann", None, now()))
        yield Stores(
            *(PostgresChats(shared), PostgresPauses(shared), PostgresHeads(shared)),
            PostgresPauses(shared, retention=0),
        )
        await shared.run(drop)
        await shared.aclose()
        return
    database = SqliteDatabase(tmp_path / "a.db" if request.param == "sqlite" else ":memory:")
    await database.open()
    await SqliteChats(database).open(Chat("chat", "ann", None, now()))
    yield Stores(
        *(SqliteChats(database), SqlitePauses(database), SqliteHeads(database)),
        SqlitePauses(database, retention=0),
    )
    await database.aclose()


@pytest.fixture
def pauses(stores: Stores) -> PausePort:
    return stores.pauses


async def test_what_is_kept_comes_back_as_it_was(pauses: PausePort) -> None:
    assert await pauses.last(JOB.id) is None
    await pauses.keep(JOB, KEPT)
    assert await pauses.last(JOB.id) == KEPT == await pauses.asking(JOB.id, "name")
    assert await pauses.asking(JOB.id, "nothing") is await pauses.last("another") is None


async def test_answers_are_collected_until_none_is_missing(pauses: PausePort) -> None:
    await pauses.keep(JOB, KEPT)
    some = await pauses.answer(JOB.id, "name", "Ann")
    assert [one.input_id for one in some.missing] == ["send"]
    whole = await pauses.answer(JOB.id, "send", True)
    assert whole == await pauses.last(JOB.id) == replace(KEPT, answers=whole.answers)
    assert whole.missing == []
    assert whole.answers == {"name": "Ann", "send": True}


async def test_the_same_answer_again_changes_nothing_and_another_is_refused(
    pauses: PausePort,
) -> None:
    await pauses.keep(JOB, KEPT)
    value: Json = {"a": 1, "b": [None]}
    first = await pauses.answer(JOB.id, "send", value)
    assert await pauses.answer(JOB.id, "send", {"b": [None], "a": 1}) == first
    others: list[Json] = [{"a": True, "b": [None]}, None, "1"]
    for other in others:
        with pytest.raises(Conflict):
            await pauses.answer(JOB.id, "send", other)
    with pytest.raises(NotFound):
        await pauses.answer(JOB.id, "nothing", 1)
    assert await pauses.last(JOB.id) == first


async def test_of_answers_that_come_at_once_none_is_lost(pauses: PausePort) -> None:
    requests = tuple(InputRequest(str(n), "", "text") for n in range(8))
    await pauses.keep(JOB, replace(KEPT, pause=replace(PAUSE, requests=requests)))
    given = [pauses.answer(JOB.id, str(n), n) for n in range(8)]
    assert sum(not kept.missing for kept in await asyncio.gather(*given)) == 1
    kept = await pauses.last(JOB.id)
    assert kept is not None
    assert kept.answers == {str(n): n for n in range(8)}


async def test_a_later_pause_is_the_last_and_an_earlier_ones_answers_are_still_known(
    pauses: PausePort,
) -> None:
    await pauses.keep(JOB, KEPT)
    await pauses.answer(JOB.id, "send", True)
    later = KeptPause(Pause(Head("chat", "2"), (InputRequest("x", "", "text"),)), 1, IN_AN_HOUR)
    await pauses.keep(JOB, later)
    assert await pauses.last(JOB.id) == later
    assert (await pauses.answer(JOB.id, "send", True)).answers == {"send": True}
    with pytest.raises(Conflict):
        await pauses.answer(JOB.id, "send", False)


async def test_an_attempt_that_another_has_overtaken_keeps_no_pause(pauses: PausePort) -> None:
    later = replace(KEPT, attempt=2)
    await pauses.keep(JOB, later)
    with pytest.raises(Superseded):
        await pauses.keep(JOB, KEPT)
    assert await pauses.last(JOB.id) == later


async def test_it_is_gone_with_its_chat_and_none_is_kept_behind_that(stores: Stores) -> None:
    await stores.pauses.keep(JOB, KEPT)
    await stores.chats.delete("ann", "chat")
    assert await stores.pauses.last(JOB.id) is None
    with pytest.raises(NotFound):
        await stores.pauses.keep(JOB, KEPT)


async def test_the_thread_of_a_job_that_asked_is_to_be_forgotten_with_its_chat(
    stores: Stores,
) -> None:
    other = a_job(chat_id="other")
    await stores.chats.open(Chat("other", "ann", None, now()))
    for job in (JOB, JOB, other):
        await stores.pauses.keep(job, KEPT)
    await stores.chats.delete("ann", "chat")
    assert list(await stores.heads.deleted()) == [JOB.id]


async def test_a_job_in_no_chat_may_wait_too(pauses: PausePort) -> None:
    job = a_job(chat_id="none", history=(Turn("user", "Hi"),))
    await pauses.keep(job, KEPT)
    assert await pauses.last(job.id) == KEPT


async def test_of_a_job_that_is_over_it_is_known_for_the_retention(stores: Stores) -> None:
    over, waiting = a_job(), a_job()
    await stores.pauses.keep(over, KEPT)
    await stores.pauses.keep(waiting, replace(KEPT, expires_at=now() - timedelta(days=2)))
    await stores.pauses.close(over.id)
    await stores.pauses.forget()
    kept = [await stores.pauses.last(each.id) for each in (over, waiting)]
    assert [one and one.closed for one in kept] == [True, False]
    await stores.without_retention.forget()
    assert await stores.pauses.last(over.id) is None
    assert await stores.pauses.last(waiting.id) == kept[1]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(JSON)
async def test_any_json_is_an_answer_and_a_prompt(pauses: PausePort, value: Json) -> None:
    job = a_job()
    asked = Pause(Head("chat", "1"), (InputRequest("x", value, "form"),), {"n": value})
    await pauses.keep(job, replace(KEPT, pause=asked))
    assert await pauses.answer(job.id, "x", value) == await pauses.last(job.id)
    assert await pauses.answer(job.id, "x", value) == await pauses.asking(job.id, "x")
