"""What every store of chats promises. A new store joins with one more fixture parameter."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluice.application.ports import Accepted, ConversationPort
from sluice.domain.chat import Chat, Job, Message, new_id
from sluice.domain.errors import Conflict, NotFound
from sluice.infrastructure.chats.postgres import PostgresConversations
from sluice.infrastructure.chats.sqlite import SqliteConversations
from sluice.infrastructure.postgres import database as postgres
from sluice.infrastructure.sqlite.database import Database

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "sqlite in memory", "postgres"])
async def conversations(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[ConversationPort]:
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        shared = postgres.Database(url, schema=f"test_{secrets.token_hex(8)}")
        await shared.open()
        yield PostgresConversations(shared)
        await shared.run(drop)
        await shared.aclose()
        return
    database = Database(tmp_path / "a.db" if request.param == "sqlite" else ":memory:")
    await database.open()
    yield SqliteConversations(database)
    await database.aclose()


async def drop(db: postgres.Connection) -> None:
    await db.execute("DO $$BEGIN EXECUTE format('DROP SCHEMA %I CASCADE', current_schema); END$$")


def chat(chat_id: str = "c", user: str = "u", *, title: str | None = "t", age: int = 0) -> Chat:
    return Chat(chat_id, user, title, START - timedelta(microseconds=age))


def job(message: str = "why?", *, retry_of: str | None = None, chat_id: str = "c") -> Job:
    return Job(new_id(), chat_id, "u", "A2", message, "r", retry_of=retry_of)


def said(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in messages]


async def history(conversations: ConversationPort) -> list[tuple[str, str]]:
    return said(list(await conversations.messages("u", "c")))


async def test_a_chat_is_there_as_it_was_opened(conversations: ConversationPort) -> None:
    assert await conversations.open(chat()) == chat()
    assert await conversations.chat("u", "c") == chat()


async def test_opening_again_gives_the_chat_as_it_stands(conversations: ConversationPort) -> None:
    await conversations.open(chat())
    assert await conversations.open(chat(title="other", age=9)) == chat()


async def test_two_users_may_choose_the_same_id(conversations: ConversationPort) -> None:
    await conversations.open(chat(title="mine"))
    await conversations.open(chat(user="v", title="theirs"))
    await conversations.asked(job())
    await conversations.delete("v", "c")
    assert (await conversations.chat("u", "c")).title == "mine"
    assert await history(conversations) == [("user", "why?")]


async def test_the_chat_of_another_is_like_one_that_never_was(
    conversations: ConversationPort,
) -> None:
    await conversations.open(chat())
    for user, chat_id in (("v", "c"), ("u", "d")):
        with pytest.raises(NotFound):
            await conversations.chat(user, chat_id)
        with pytest.raises(NotFound):
            await conversations.messages(user, chat_id)
        with pytest.raises(NotFound):
            await conversations.rename(user, chat_id, "x")
        with pytest.raises(NotFound):
            await conversations.delete(user, chat_id)
        with pytest.raises(NotFound):
            await conversations.asked(replace(job(), user=user, chat_id=chat_id))
    assert await conversations.chat("u", "c") == chat()


async def test_a_title_can_be_changed_and_taken_away(conversations: ConversationPort) -> None:
    await conversations.open(chat())
    for title in ("new", None):
        await conversations.rename("u", "c", title)
        assert (await conversations.chat("u", "c")).title == title


async def test_pages_hold_every_chat_once_newest_first(conversations: ConversationPort) -> None:
    for number in range(10):  # pairs of the same age
        await conversations.open(chat(f"c{number}", age=number // 2))
    await conversations.open(chat("x", "v"))
    pages, before = [], None
    while page := await conversations.chats("u", limit=3, before=before):
        pages.append(len(page))
        before = page[-1].created_at, page[-1].id
        await conversations.open(chat(f"late{len(pages)}", age=-1))  # moves no page's border
    assert pages == [3, 3, 3, 1]


async def test_the_first_page_begins_with_the_newest(conversations: ConversationPort) -> None:
    for number in range(5):
        await conversations.open(chat(f"c{number}", age=10 - number))
    page = await conversations.chats("u", limit=2, before=None)
    assert [each.id for each in page] == ["c4", "c3"]


async def test_a_question_and_its_answer_are_kept(conversations: ConversationPort) -> None:
    await conversations.open(chat())
    asked = job()
    await conversations.asked(asked)
    await conversations.asked(asked)
    await conversations.answered(asked, "becau", "cancelled", 1)
    await conversations.answered(asked, "because", "completed", 1)
    question, answer = await conversations.messages("u", "c")
    assert said([question, answer]) == [("user", "why?"), ("assistant", "because")]
    assert (question.status, answer.status) == ("completed", "completed")
    assert question.job_id == answer.job_id == asked.id
    assert question.id != answer.id
    assert question.created_at <= answer.created_at


async def test_a_job_has_ended_once_it_was_answered_if_only_with_nothing(
    conversations: ConversationPort,
) -> None:
    await conversations.open(chat())
    one, other = job(), job()
    await conversations.asked(one)
    await conversations.asked(other)
    assert not await conversations.ended(one.id)
    await conversations.answered(one, "", "failed", 1)
    assert await conversations.ended(one.id)
    assert not await conversations.ended(other.id)
    await conversations.delete("u", "c")
    assert not await conversations.ended(one.id)


async def test_an_earlier_attempts_answer_comes_too_late(conversations: ConversationPort) -> None:
    await conversations.open(chat())
    asked = job()
    await conversations.asked(asked)
    await conversations.answered(asked, "bec", "cancelled", 1)
    await conversations.answered(asked, "because", "completed", 2)
    await conversations.answered(asked, "becau", "failed", 1)
    _, answer = await conversations.messages("u", "c")
    assert (answer.content, answer.status) == ("because", "completed")


async def test_an_attempt_without_an_answer_takes_an_earlier_ones_back(
    conversations: ConversationPort,
) -> None:
    await conversations.open(chat())
    asked = job()
    await conversations.asked(asked)
    await conversations.answered(asked, "because", "completed", 1)
    await conversations.answered(asked, "", "cancelled", 2)
    assert await history(conversations) == [("user", "why?")]
    await conversations.answered(asked, "because", "completed", 1)
    assert await history(conversations) == [("user", "why?")]
    await conversations.answered(asked, "so", "completed", 3)
    assert await history(conversations) == [("user", "why?"), ("assistant", "so")]


async def test_of_attempts_that_answer_at_once_the_last_one_is_heard(
    conversations: ConversationPort,
) -> None:
    await conversations.open(chat())
    asked = job()
    await conversations.asked(asked)
    await asyncio.gather(
        *(conversations.answered(asked, str(n), "completed", n) for n in (3, 1, 5, 2, 4))
    )
    assert await history(conversations) == [("user", "why?"), ("assistant", "5")]


async def test_a_job_that_is_asked_again_begins_with_its_first_attempt(
    conversations: ConversationPort,
) -> None:
    """Its log is gone, the key of its request is not."""
    await conversations.open(chat())
    asked = job()
    await conversations.asked(asked)
    await conversations.answered(asked, "", "failed", 2)
    await conversations.asked(asked)
    await conversations.answered(asked, "because", "completed", 1)
    assert await history(conversations) == [("user", "why?"), ("assistant", "because")]


async def test_an_answer_stands_behind_its_own_question(conversations: ConversationPort) -> None:
    await conversations.open(chat())
    first, second = job("1?"), job("2?")
    await conversations.asked(first)
    await conversations.asked(second)
    await conversations.answered(first, "1!", "completed", 1)
    await conversations.answered(second, "2!", "completed", 1)
    assert await history(conversations) == [
        ("user", "1?"),
        ("assistant", "1!"),
        ("user", "2?"),
        ("assistant", "2!"),
    ]


async def test_a_retried_question_is_not_doubled(conversations: ConversationPort) -> None:
    await conversations.open(chat())
    first = job()
    again, once_more = job(retry_of=first.id), job(retry_of=first.id)
    await conversations.asked(first)
    await conversations.answered(first, "bec", "failed", 1)
    for retry in (again, once_more, once_more):  # also of a question that moved on
        await conversations.asked(retry)
        question, *_ = await conversations.messages("u", "c")
        assert question.job_id == retry.id
    await conversations.answered(again, "b", "failed", 1)
    await conversations.answered(once_more, "because", "completed", 1)
    assert await history(conversations) == [
        ("user", "why?"),
        ("assistant", "bec"),
        ("assistant", "b"),
        ("assistant", "because"),
    ]


async def test_a_retry_of_another_chats_question_is_a_question(
    conversations: ConversationPort,
) -> None:
    await conversations.open(chat())
    await conversations.open(chat("d"))
    first = job()
    await conversations.asked(first)
    await conversations.asked(job(chat_id="d", retry_of=first.id))
    (question,) = await conversations.messages("u", "c")
    assert question.job_id == first.id
    assert len(await conversations.messages("u", "d")) == 1


async def test_a_question_that_was_not_taken_is_forgotten(
    conversations: ConversationPort,
) -> None:
    await conversations.open(chat())
    first, second = job("one"), job("two")
    await conversations.asked(first)
    await conversations.asked(second)
    await conversations.unasked(first)
    await conversations.answered(first, "nobody asked", "completed", 1)
    assert await history(conversations) == [("user", "two")]
    await conversations.asked(first)
    assert await history(conversations) == [("user", "two"), ("user", "one")]


async def test_a_retry_that_was_not_taken_gives_its_question_back(
    conversations: ConversationPort,
) -> None:
    await conversations.open(chat())
    first = job()
    retry = job(retry_of=first.id)
    await conversations.asked(first)
    await conversations.answered(first, "because", "completed", 1)
    await conversations.asked(retry)
    await conversations.unasked(retry)
    question, answer = await conversations.messages("u", "c")
    assert (question.content, question.job_id) == ("why?", first.id)
    assert (answer.content, answer.job_id) == ("because", first.id)


async def test_the_answer_for_a_deleted_chat_is_dropped(conversations: ConversationPort) -> None:
    await conversations.open(chat())
    asked = job()
    await conversations.asked(asked)
    await conversations.delete("u", "c")
    await conversations.answered(asked, "because", "completed", 1)
    with pytest.raises(NotFound):
        await conversations.chat("u", "c")
    await conversations.open(chat())
    assert await history(conversations) == []


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS.filter(len), title=TEXTS)
async def test_any_text_comes_back_exactly(
    conversations: ConversationPort, text: str, title: str
) -> None:
    opened = await conversations.open(chat(new_id(), title=title))
    asked = job(text, chat_id=opened.id)
    await conversations.asked(asked)
    await conversations.answered(asked, text, "completed", 1)
    assert said(list(await conversations.messages("u", opened.id))) == [
        ("user", text),
        ("assistant", text),
    ]
    assert (await conversations.chat("u", opened.id)).title == title


def accepted(chat_id: str = "c") -> Accepted:
    return Accepted(new_id(), chat_id, "A1")


async def test_ten_who_name_a_session_at_once_get_the_same_chat(
    conversations: ConversationPort,
) -> None:
    ten = [conversations.session("u", "세션\r\n", f"c{number}") for number in range(10)]
    (named,) = set(await asyncio.gather(*ten))
    assert await conversations.session("u", "세션\r\n", "other") == named
    assert await conversations.session("u", "세션", "mine") == "mine"
    assert await conversations.session("v", "세션\r\n", "theirs") == "theirs"


async def test_a_session_is_free_again_once_its_chat_is_deleted(
    conversations: ConversationPort,
) -> None:
    for user in ("u", "v"):
        assert await conversations.session(user, "s", "c") == "c"
        await conversations.open(chat(user=user))
    await conversations.delete("u", "c")
    assert await conversations.session("u", "s", "d") == "d"
    assert await conversations.session("v", "s", "d") == "c"


async def test_ten_equal_claims_at_once_get_the_same_job(conversations: ConversationPort) -> None:
    offers = [accepted() for _ in range(10)]
    got = await asyncio.gather(*(conversations.claim("u", "k", "f", each) for each in offers))
    assert len(set(got)) == 1
    assert got[0] in offers


async def test_a_key_used_for_another_request_is_a_conflict(
    conversations: ConversationPort,
) -> None:
    await conversations.claim("u", "k", "f", accepted())
    with pytest.raises(Conflict):
        await conversations.claim("u", "k", "g", accepted())


async def test_a_key_belongs_to_its_user_and_can_be_freed(conversations: ConversationPort) -> None:
    mine, theirs, next_one = accepted(), accepted(), accepted()
    assert await conversations.claim("u", "k", "f", mine) == mine
    assert await conversations.claim("v", "k", "g", theirs) == theirs
    await conversations.unclaim("u", "k", mine.job_id)
    assert await conversations.claim("u", "k", "g", next_one) == next_one
    await conversations.unclaim("u", "k", mine.job_id)  # late: it is another job's by now
    assert await conversations.claim("u", "k", "g", mine) == next_one
    assert await conversations.claim("v", "k", "g", mine) == theirs


async def test_a_key_is_free_again_once_its_chat_is_deleted(
    conversations: ConversationPort,
) -> None:
    await conversations.open(chat())
    await conversations.claim("u", "k", "f", accepted())
    await conversations.delete("u", "c")
    other = accepted("d")
    assert await conversations.claim("u", "k", "g", other) == other


async def test_a_key_is_bound_for_a_day(
    conversations: ConversationPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = accepted(), accepted()
    await conversations.claim("u", "k", "f", first)
    tomorrow = datetime.now(UTC) + timedelta(hours=23)
    for store in ("sqlite", "postgres"):
        monkeypatch.setattr(f"sluice.infrastructure.chats.{store}.now", lambda: tomorrow)
    assert await conversations.claim("u", "k", "f", second) == first
    tomorrow += timedelta(hours=2)
    assert await conversations.claim("u", "k", "g", second) == second
