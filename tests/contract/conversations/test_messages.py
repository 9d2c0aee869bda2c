"""What every store of chats promises of questions and answers: each once, the last attempt's."""

import asyncio
from dataclasses import replace

from sluice.application.chat_ports import ChatPort
from tests.contract.conversations.stores import chat, history, job, said


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
