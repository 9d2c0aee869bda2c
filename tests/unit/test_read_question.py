"""What a run is asked with: its graph's own state, the caller's turns, or the chat's text."""

from collections.abc import Sequence
from typing import Any

import pytest

from sluice.application.history import ReadQuestion, history
from sluice.domain.chat import Job, Message, Question, Turn, now
from sluice.domain.errors import NotFound, Unavailable
from sluice.domain.graph_state import Head
from tests.doubles import a_job

HEAD = Head("chat", "1")


class Chats:
    """One chat of ann's, away for so many tries."""

    def __init__(self, outages: int = 0) -> None:
        self.outages = outages

    async def messages(self, user: str, chat_id: str) -> Sequence[Message]:
        if self.outages:
            self.outages -= 1
            raise Unavailable("away")
        if (user, chat_id) != ("ann", "chat"):
            raise NotFound
        return [Message("1", "user", "q1", "1", "completed", now())]


class States:
    def __init__(self, head: Head | None) -> None:
        self.head, self.asked = head, list[Job]()

    async def begin(self, job: Job) -> Head | None:
        self.asked.append(job)
        return self.head


def reading(chats: Chats, states: States | None = None) -> Any:
    return ReadQuestion(chats, states)  # type: ignore[arg-type]


@pytest.mark.parametrize("states", [None, States(None)])
async def test_without_a_state_of_its_own_a_graph_is_given_the_chats_text(
    states: States | None,
) -> None:
    job = a_job()
    asked = await reading(Chats(), states)(job)
    assert asked == Question(job, [Turn("user", "q1")])
    assert states is None or states.asked == [job]


async def test_with_one_it_is_given_where_that_stands_and_no_text() -> None:
    job = a_job()
    assert await reading(Chats(outages=1), States(HEAD))(job) == Question(job, head=HEAD)


@pytest.mark.parametrize("turns", [(), (Turn("user", "a"), Turn("assistant", "b"))])
async def test_a_job_that_brings_its_turns_is_in_no_chat_that_could_be_read(
    turns: tuple[Turn, ...],
) -> None:
    job = a_job(chat_id="nothing", history=turns)
    assert await reading(Chats())(job) == Question(job, list(turns))


async def test_somebody_elses_chat_is_not_there() -> None:
    with pytest.raises(NotFound):
        await reading(Chats())(a_job(user="bob"))


async def test_a_store_that_is_away_is_asked_again_every_half_second(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slept: list[float] = []

    async def briefly(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("sluice.application.history.asyncio.sleep", briefly)
    job = a_job(id="job")
    assert (await reading(Chats(outages=2))(job)).history == [Turn("user", "q1")]
    assert slept == [0.5, 0.5]
    assert caplog.text.count("job job waits for its chat: Unavailable") == 2


def test_the_history_is_what_came_before_and_one_answer_each() -> None:
    def message(role: Any, content: str, job_id: str) -> Message:
        return Message(content, role, content, job_id, "completed", now())

    messages = [
        message("user", "q1", "1"),
        message("assistant", "cut off", "1"),
        message("assistant", "again", "2"),
        message("user", "q2", "3"),
        message("assistant", "a2", "3"),
        message("user", "q3", "4"),
    ]
    before = [Turn("user", "q1"), Turn("assistant", "again")]
    assert history(messages, a_job(id="3")) == before
    assert history(messages, a_job(id="9", retry_of="3")) == before


@pytest.mark.parametrize("nothing", ["", " \n"])
def test_an_answer_that_was_stopped_before_its_first_word_is_no_turn(nothing: str) -> None:
    """Two questions then stand in a row. An earlier answer to the same question stays."""

    def message(role: Any, content: str, job_id: str) -> Message:
        return Message(content, role, content, job_id, "cancelled", now())

    messages = [
        message("user", "q1", "1"),
        message("assistant", nothing, "1"),
        message("user", "q2", "2"),
        message("assistant", "a2", "2"),
        message("assistant", nothing, "3"),
        message("user", "q3", "4"),
    ]
    before = [Turn("user", "q1"), Turn("user", "q2"), Turn("assistant", "a2")]
    assert history(messages, a_job(id="4")) == before
