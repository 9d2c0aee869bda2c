"""What every store of chats promises: each is its user's, as it was opened, and once on a page."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluice.application.chat_ports import ChatPort
from sluice.domain.chat import new_id
from sluice.domain.errors import NotFound
from tests.contract.conversations.stores import chat, history, job, said


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
