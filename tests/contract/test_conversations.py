"""What every store of chats promises. A new store joins with one more fixture parameter."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluice.application.chat_ports import ChatPort, IdempotencyPort, SessionPort
from sluice.application.ports import Accepted
from sluice.domain.chat import Chat, Job, Message, new_id
from sluice.domain.errors import Conflict, NotFound
from sluice.domain.rollout import Flag
from sluice.infrastructure.chats.postgres import idempotency as postgres_idempotency
from sluice.infrastructure.chats.postgres.chats import PostgresChats
from sluice.infrastructure.chats.postgres.idempotency import PostgresIdempotency
from sluice.infrastructure.chats.postgres.sessions import PostgresSessions
from sluice.infrastructure.chats.sqlite import idempotency as sqlite_idempotency
from sluice.infrastructure.chats.sqlite.chats import SqliteChats
from sluice.infrastructure.chats.sqlite.idempotency import SqliteIdempotency
from sluice.infrastructure.chats.sqlite.sessions import SqliteSessions
from sluice.infrastructure.postgres.database import Connection, PostgresDatabase
from sluice.infrastructure.sqlite.database import SqliteDatabase

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Stores:
    """They share a database: a chat's deletion is one step for all three."""

    chats: ChatPort
    sessions: SessionPort
    keys: IdempotencyPort


@pytest.fixture(params=["sqlite", "sqlite in memory", "postgres"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        shared = PostgresDatabase(url, schema=f"test_{secrets.token_hex(8)}")
        await shared.open()
        yield Stores(PostgresChats(shared), PostgresSessions(shared), PostgresIdempotency(shared))
        await shared.run(drop)
        await shared.aclose()
        return
    database = SqliteDatabase(tmp_path / "a.db" if request.param == "sqlite" else ":memory:")
    await database.open()
    yield Stores(SqliteChats(database), SqliteSessions(database), SqliteIdempotency(database))
    await database.aclose()


@pytest.fixture
def chats(stores: Stores) -> ChatPort:
    return stores.chats


@pytest.fixture
def sessions(stores: Stores) -> SessionPort:
    return stores.sessions


@pytest.fixture
def keys(stores: Stores) -> IdempotencyPort:
    return stores.keys


async def drop(db: Connection) -> None:
    await db.execute("DO $$BEGIN EXECUTE format('DROP SCHEMA %I CASCADE', current_schema); END$$")


def chat(chat_id: str = "c", user: str = "u", *, title: str | None = "t", age: int = 0) -> Chat:
    return Chat(chat_id, user, title, START - timedelta(microseconds=age))


def job(message: str = "why?", *, retry_of: str | None = None, chat_id: str = "c") -> Job:
    return Job(new_id(), chat_id, "u", "A2", message, "r", retry_of=retry_of)


def said(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in messages]


async def history(chats: ChatPort) -> list[tuple[str, str]]:
    return said(list(await chats.messages("u", "c")))


async def test_a_chat_is_there_as_it_was_opened(chats: ChatPort) -> None:
    assert await chats.open(chat()) == chat()
    assert await chats.chat("u", "c") == chat()


async def test_opening_again_gives_the_chat_as_it_stands(chats: ChatPort) -> None:
    await chats.open(chat())
    assert await chats.open(chat(title="other", age=9)) == chat()


async def test_two_users_may_choose_the_same_id(chats: ChatPort) -> None:
    await chats.open(chat(title="mine"))
    await chats.open(chat(user="v", title="theirs"))
    await chats.add_question(job())
    await chats.delete("v", "c")
    assert (await chats.chat("u", "c")).title == "mine"
    assert await history(chats) == [("user", "why?")]


async def test_a_question_keeps_the_id_that_its_client_gave_it(chats: ChatPort) -> None:
    await chats.open(chat())
    asked, other = job(), replace(job(), id="other")
    await chats.add_question(asked, "무색-1")
    await chats.add_question(asked, "무색-1")
    await chats.keep_answer(asked, "because", "completed", 1)
    await chats.add_question(other)
    first, answer, second = await chats.messages("u", "c")
    assert first.id == "무색-1"
    assert len({"무색-1", answer.id, second.id, ""}) == 4


async def test_the_chat_of_another_is_like_one_that_never_was(
    chats: ChatPort,
) -> None:
    await chats.open(chat())
    for user, chat_id in (("v", "c"), ("u", "d")):
        with pytest.raises(NotFound):
            await chats.chat(user, chat_id)
        with pytest.raises(NotFound):
            await chats.messages(user, chat_id)
        with pytest.raises(NotFound):
            await chats.rename(user, chat_id, "x")
        with pytest.raises(NotFound):
            await chats.delete(user, chat_id)
        with pytest.raises(NotFound):
            await chats.add_question(replace(job(), user=user, chat_id=chat_id))
    assert await chats.chat("u", "c") == chat()


async def test_a_title_can_be_changed_and_taken_away(chats: ChatPort) -> None:
    await chats.open(chat())
    for title in ("new", None):
        await chats.rename("u", "c", title)
        assert (await chats.chat("u", "c")).title == title


async def test_pages_hold_every_chat_once_newest_first(chats: ChatPort) -> None:
    for number in range(10):  # pairs of the same age
        await chats.open(chat(f"c{number}", age=number // 2))
    await chats.open(chat("x", "v"))
    pages, before = [], None
    while page := await chats.chats("u", limit=3, before=before):
        pages.append(len(page))
        before = page[-1].created_at, page[-1].id
        await chats.open(chat(f"late{len(pages)}", age=-1))  # moves no page's border
    assert pages == [3, 3, 3, 1]


async def test_the_first_page_begins_with_the_newest(chats: ChatPort) -> None:
    for number in range(5):
        await chats.open(chat(f"c{number}", age=10 - number))
    page = await chats.chats("u", limit=2, before=None)
    assert [each.id for each in page] == ["c4", "c3"]


async def test_a_question_and_its_answer_are_kept(chats: ChatPort) -> None:
    await chats.open(chat())
    asked = job()
    await chats.add_question(asked)
    await chats.add_question(asked)
    await chats.keep_answer(asked, "becau", "cancelled", 1)
    await chats.keep_answer(asked, "because", "completed", 1)
    question, answer = await chats.messages("u", "c")
    assert said([question, answer]) == [("user", "why?"), ("assistant", "because")]
    assert (question.status, answer.status) == ("completed", "completed")
    assert question.job_id == answer.job_id == asked.id
    assert question.id != answer.id
    assert question.created_at <= answer.created_at


async def test_a_job_has_ended_once_it_was_answered_if_only_with_nothing(
    chats: ChatPort,
) -> None:
    await chats.open(chat())
    one, other = job(), job()
    await chats.add_question(one)
    await chats.add_question(other)
    assert not await chats.has_ended(one.id)
    await chats.keep_answer(one, "", "failed", 1)
    assert await chats.has_ended(one.id)
    assert not await chats.has_ended(other.id)
    await chats.delete("u", "c")
    assert not await chats.has_ended(one.id)


async def test_an_earlier_attempts_answer_comes_too_late(chats: ChatPort) -> None:
    await chats.open(chat())
    asked = job()
    await chats.add_question(asked)
    await chats.keep_answer(asked, "bec", "cancelled", 1)
    await chats.keep_answer(asked, "because", "completed", 2)
    await chats.keep_answer(asked, "becau", "failed", 1)
    _, answer = await chats.messages("u", "c")
    assert (answer.content, answer.status) == ("because", "completed")


async def test_an_attempt_without_an_answer_takes_an_earlier_ones_back(
    chats: ChatPort,
) -> None:
    await chats.open(chat())
    asked = job()
    await chats.add_question(asked)
    await chats.keep_answer(asked, "because", "completed", 1)
    await chats.keep_answer(asked, "", "cancelled", 2)
    assert await history(chats) == [("user", "why?")]
    await chats.keep_answer(asked, "because", "completed", 1)
    assert await history(chats) == [("user", "why?")]
    await chats.keep_answer(asked, "so", "completed", 3)
    assert await history(chats) == [("user", "why?"), ("assistant", "so")]


async def test_of_attempts_that_answer_at_once_the_last_one_is_heard(
    chats: ChatPort,
) -> None:
    await chats.open(chat())
    asked = job()
    await chats.add_question(asked)
    await asyncio.gather(
        *(chats.keep_answer(asked, str(n), "completed", n) for n in (3, 1, 5, 2, 4))
    )
    assert await history(chats) == [("user", "why?"), ("assistant", "5")]


async def test_a_job_that_is_asked_again_begins_with_its_first_attempt(
    chats: ChatPort,
) -> None:
    """Its log is gone, the key of its request is not."""
    await chats.open(chat())
    asked = job()
    await chats.add_question(asked)
    await chats.keep_answer(asked, "", "failed", 2)
    await chats.add_question(asked)
    await chats.keep_answer(asked, "because", "completed", 1)
    assert await history(chats) == [("user", "why?"), ("assistant", "because")]


async def test_an_answer_stands_behind_its_own_question(chats: ChatPort) -> None:
    await chats.open(chat())
    first, second = job("1?"), job("2?")
    await chats.add_question(first)
    await chats.add_question(second)
    await chats.keep_answer(first, "1!", "completed", 1)
    await chats.keep_answer(second, "2!", "completed", 1)
    assert await history(chats) == [
        ("user", "1?"),
        ("assistant", "1!"),
        ("user", "2?"),
        ("assistant", "2!"),
    ]


async def test_a_retried_question_is_not_doubled(chats: ChatPort) -> None:
    await chats.open(chat())
    first = job()
    again, once_more = job(retry_of=first.id), job(retry_of=first.id)
    await chats.add_question(first)
    await chats.keep_answer(first, "bec", "failed", 1)
    for retry in (again, once_more, once_more):  # also of a question that moved on
        await chats.add_question(retry)
        question, *_ = await chats.messages("u", "c")
        assert question.job_id == retry.id
    await chats.keep_answer(again, "b", "failed", 1)
    await chats.keep_answer(once_more, "because", "completed", 1)
    assert await history(chats) == [
        ("user", "why?"),
        ("assistant", "bec"),
        ("assistant", "b"),
        ("assistant", "because"),
    ]


async def test_a_retry_of_another_chats_question_is_a_question(
    chats: ChatPort,
) -> None:
    await chats.open(chat())
    await chats.open(chat("d"))
    first = job()
    await chats.add_question(first)
    await chats.add_question(job(chat_id="d", retry_of=first.id))
    (question,) = await chats.messages("u", "c")
    assert question.job_id == first.id
    assert len(await chats.messages("u", "d")) == 1


async def test_a_question_that_was_not_taken_is_forgotten(
    chats: ChatPort,
) -> None:
    await chats.open(chat())
    first, second = job("one"), job("two")
    await chats.add_question(first)
    await chats.add_question(second)
    await chats.remove_question(first)
    await chats.keep_answer(first, "nobody asked", "completed", 1)
    assert await history(chats) == [("user", "two")]
    await chats.add_question(first)
    assert await history(chats) == [("user", "two"), ("user", "one")]


async def test_a_retry_that_was_not_taken_gives_its_question_back(
    chats: ChatPort,
) -> None:
    await chats.open(chat())
    first = job()
    retry = job(retry_of=first.id)
    await chats.add_question(first)
    await chats.keep_answer(first, "because", "completed", 1)
    await chats.add_question(retry)
    await chats.remove_question(retry)
    question, answer = await chats.messages("u", "c")
    assert (question.content, question.job_id) == ("why?", first.id)
    assert (answer.content, answer.job_id) == ("because", first.id)


async def test_the_answer_for_a_deleted_chat_is_dropped(chats: ChatPort) -> None:
    await chats.open(chat())
    asked = job()
    await chats.add_question(asked)
    await chats.delete("u", "c")
    await chats.keep_answer(asked, "because", "completed", 1)
    with pytest.raises(NotFound):
        await chats.chat("u", "c")
    await chats.open(chat())
    assert await history(chats) == []


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS.filter(len), title=TEXTS)
async def test_any_text_comes_back_exactly(chats: ChatPort, text: str, title: str) -> None:
    opened = await chats.open(chat(new_id(), title=title))
    asked = job(text, chat_id=opened.id)
    await chats.add_question(asked)
    await chats.keep_answer(asked, text, "completed", 1)
    assert said(list(await chats.messages("u", opened.id))) == [
        ("user", text),
        ("assistant", text),
    ]
    assert (await chats.chat("u", opened.id)).title == title


def accepted(chat_id: str = "c") -> Accepted:
    return Accepted(new_id(), chat_id, "A1", Flag(5, "control", "control", "r"))


async def test_ten_who_name_a_session_at_once_get_the_same_chat(
    sessions: SessionPort,
) -> None:
    ten = [sessions.session("u", "세션\r\n", f"c{number}") for number in range(10)]
    (named,) = set(await asyncio.gather(*ten))
    assert await sessions.session("u", "세션\r\n", "other") == named
    assert await sessions.session("u", "세션", "mine") == "mine"
    assert await sessions.session("v", "세션\r\n", "theirs") == "theirs"


async def test_a_session_is_found_by_its_name_and_named_by_its_chat(
    chats: ChatPort, sessions: SessionPort
) -> None:
    for user in ("u", "v"):
        await chats.open(chat(user=user))
    assert await sessions.session("u", "세션\r\n", "c") == "c"
    assert await sessions.find("u", "세션\r\n") == "c"
    assert await sessions.name("u", "c") == "세션\r\n"
    assert [await sessions.find("v", "세션\r\n"), await sessions.find("u", "세션")] == [None, None]
    assert [await sessions.name("v", "c"), await sessions.name("u", "d")] == [None, None]
    await chats.delete("u", "c")
    assert await sessions.find("u", "세션\r\n") is None


async def test_a_session_is_free_again_once_its_chat_is_deleted(
    chats: ChatPort,
    sessions: SessionPort,
) -> None:
    for user in ("u", "v"):
        assert await sessions.session(user, "s", "c") == "c"
        await chats.open(chat(user=user))
    await chats.delete("u", "c")
    assert await sessions.session("u", "s", "d") == "d"
    assert await sessions.session("v", "s", "d") == "c"


async def test_ten_equal_claims_at_once_get_the_same_job(keys: IdempotencyPort) -> None:
    offers = [accepted() for _ in range(10)]
    got = await asyncio.gather(*(keys.claim("u", "k", "f", each) for each in offers))
    assert len(set(got)) == 1
    assert got[0] in offers


async def test_a_key_used_for_another_request_is_a_conflict(
    keys: IdempotencyPort,
) -> None:
    await keys.claim("u", "k", "f", accepted())
    with pytest.raises(Conflict):
        await keys.claim("u", "k", "g", accepted())


async def test_a_key_belongs_to_its_user_and_can_be_freed(keys: IdempotencyPort) -> None:
    mine, theirs, next_one = accepted(), accepted(), accepted()
    assert await keys.claim("u", "k", "f", mine) == mine
    assert await keys.claim("v", "k", "g", theirs) == theirs
    await keys.release("u", "k", mine.job_id)
    assert await keys.claim("u", "k", "g", next_one) == next_one
    await keys.release("u", "k", mine.job_id)  # late: it is another job's by now
    assert await keys.claim("u", "k", "g", mine) == next_one
    assert await keys.claim("v", "k", "g", mine) == theirs


async def test_a_key_is_free_again_once_its_chat_is_deleted(
    chats: ChatPort,
    keys: IdempotencyPort,
) -> None:
    await chats.open(chat())
    await keys.claim("u", "k", "f", accepted())
    await chats.delete("u", "c")
    other = accepted("d")
    assert await keys.claim("u", "k", "g", other) == other


async def test_a_key_is_bound_for_a_day(
    keys: IdempotencyPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = accepted(), accepted()
    await keys.claim("u", "k", "f", first)
    tomorrow = datetime.now(UTC) + timedelta(hours=23)
    for store in (sqlite_idempotency, postgres_idempotency):
        monkeypatch.setattr(store, "now", lambda: tomorrow)
    assert await keys.claim("u", "k", "f", second) == first
    tomorrow += timedelta(hours=2)
    assert await keys.claim("u", "k", "g", second) == second


async def test_what_is_looked_for_is_found_or_not_made(
    chats: ChatPort, sessions: SessionPort, keys: IdempotencyPort
) -> None:
    for _ in range(2):
        assert await sessions.find("u", "세션\r\n") is None
        assert await keys.find("u", "\nk") is None
    mine = accepted()
    await sessions.session("u", "세션\r\n", "c")
    await keys.claim("u", "\nk", "f", mine)
    assert await sessions.find("u", "세션\r\n") == "c"
    assert await keys.find("u", "\nk") == mine
    assert await sessions.find("v", "세션\r\n") is None
    assert await keys.find("v", "\nk") is None
    await chats.open(chat())
    await chats.delete("u", "c")
    assert await sessions.find("u", "세션\r\n") is None
    assert await keys.find("u", "\nk") is None
