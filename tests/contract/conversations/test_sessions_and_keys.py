"""What every store promises of sessions' names and idempotency keys: one chat, one job."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from sluice.application.chat_ports import ChatPort, IdempotencyPort, SessionPort
from sluice.domain.errors import Conflict
from sluice.infrastructure.chats.postgres import idempotency as postgres_idempotency
from sluice.infrastructure.chats.sqlite import idempotency as sqlite_idempotency
from tests.contract.conversations.stores import accepted, chat


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
