"""What a run is asked with: its graph's own state, the caller's turns, or the chat's text."""

from collections.abc import Sequence
from typing import Any

import pytest

from sluice.application.history import ReadQuestion
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
