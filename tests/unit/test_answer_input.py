"""Whose answer to what is taken, and when the job is woken by it."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from sluice.application.answer_input import AnswerInput
from sluice.application.pause_port import KeptPause
from sluice.domain.chat import now
from sluice.domain.errors import Conflict, Expired, NotFound, Refused, Unavailable
from sluice.domain.events import QUEUED, Json
from sluice.domain.graph_state import Head, InputRequest, Pause
from sluice.infrastructure.event_log.memory import MemoryEventLog
from sluice.infrastructure.json_schema import check_value
from tests.doubles import a_job

YES = InputRequest("yes", "May I?", "approval", {"type": "boolean"})
NAME = InputRequest("name", "Who?", "text")


class Pauses:
    """The part of a PausePort that is asked here."""

    def __init__(self, job_id: str, woken: list[tuple[str, float]]) -> None:
        self._job_id = job_id
        self.kept: KeptPause | None = None
        self.given: list[tuple[str, str, Json]] = []
        self._woken = woken
        self.woken_before: list[int] = []
        self.away = False

    async def asking(self, job_id: str, input_id: str) -> KeptPause | None:
        assert job_id == self._job_id
        kept = self.kept
        return kept if kept is not None and kept.pause.asks(input_id) else None

    async def answer(self, job_id: str, input_id: str, value: Json) -> KeptPause:
        if self.away:
            raise Unavailable("away")
        assert self.kept is not None
        self.given.append((job_id, input_id, value))
        self.woken_before.append(len(self._woken))
        self.kept = self.kept.with_answer(input_id, value)
        return self.kept


class House:
    """A job of ann's that waits, and what its queue was told."""

    def __init__(self) -> None:
        self.log, self.job = MemoryEventLog(), a_job()
        self.woken: list[tuple[str, float]] = []
        self.pauses = Pauses(self.job.id, self.woken)
        self._answer = AnswerInput(self.pauses, self.log, self, check_value)  # type: ignore[arg-type]

    async def wake(self, job_id: str, *, within: float = 0) -> None:
        self.woken.append((job_id, within))

    def asks(self, *requests: InputRequest, seconds: float = 60, **fields: Any) -> None:
        until = now() + timedelta(seconds=seconds)
        self.pauses.kept = KeptPause(Pause(Head("chat"), requests), 1, until, **fields)

    async def answer(self, input_id: str, value: Json, user: str = "ann") -> None:
        await self._answer(user, self.job.id, input_id, value)

    async def answers(self, answers: Mapping[str, Json]) -> None:
        await self._answer.all("ann", self.job.id, answers)


@pytest.fixture
async def house() -> House:
    house = House()
    await house.log.create(house.job, QUEUED)
    house.asks(YES, NAME)
    return house


async def test_a_job_is_looked_at_soon_with_every_answer_and_at_once_with_the_last(
    house: House,
) -> None:
    job = house.job.id
    await house.answer("name", "Bob")
    assert house.woken == [(job, 5)]
    await house.answer("yes", False)
    assert house.woken == [(job, 5), (job, 5), (job, 0)]
    assert house.pauses.given == [(job, "name", "Bob"), (job, "yes", False)]
    assert house.pauses.woken_before == [1, 2]  # whoever dies behind the answer has woken it


async def test_an_answer_that_could_not_be_kept_leaves_the_job_to_be_looked_at(
    house: House,
) -> None:
    house.pauses.away = True
    with pytest.raises(Unavailable):
        await house.answer("name", "Bob")
    assert house.woken == [(house.job.id, 5)]


@pytest.mark.parametrize("fields", [{}, {"closed": True}, {"seconds": -1}])
async def test_the_same_answer_again_is_taken_whatever_became_of_the_job(
    house: House, fields: dict[str, Any]
) -> None:
    house.asks(YES, answers={"yes": True}, **fields)
    await house.answer("yes", True)
    assert house.woken == [(house.job.id, 5), (house.job.id, 0)]


@pytest.mark.parametrize("value", [False, 1, "true"])
async def test_another_answer_is_a_conflict(house: House, value: Json) -> None:
    house.asks(YES, answers={"yes": True})
    with pytest.raises(Conflict, match="answered otherwise"):
        await house.answer("yes", value)
    assert not house.pauses.given
    assert not house.woken


@pytest.mark.parametrize(
    ("seconds", "closed", "error", "text"),
    [
        (-1, False, Expired, "^$"),
        (-1, True, Expired, "^$"),
        (60, True, Conflict, "does not wait any more"),
    ],
)
async def test_a_job_that_waits_no_more_takes_nothing(
    house: House, seconds: float, error: type[Exception], text: str, *, closed: bool
) -> None:
    house.asks(YES, seconds=seconds, closed=closed)
    with pytest.raises(error, match=text):
        await house.answer("yes", True)
    assert not house.pauses.given
    assert not house.woken


@pytest.mark.parametrize(
    ("other", "value", "error"), [("yes", "perhaps", Refused), ("nothing", True, Conflict)]
)
async def test_of_answers_that_come_together_none_is_taken_unless_all_can_be(
    house: House, other: str, value: Json, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await house.answers({"name": "Bob", other: value})
    assert not house.pauses.given
    assert not house.woken


async def test_what_was_not_asked_is_a_conflict(house: House) -> None:
    with pytest.raises(Conflict, match="has not asked that"):
        await house.answer("nothing", True)


@pytest.mark.parametrize("value", ["yes", None, 1])
async def test_only_an_answer_of_the_schema_that_was_asked_for_is_taken(
    house: House, value: Json
) -> None:
    with pytest.raises(Refused):
        await house.answer("yes", value)
    await house.answer("name", value)  # nobody said what a name is
    assert house.pauses.given == [(house.job.id, "name", value)]


TREE: Mapping[str, Json] = {
    "properties": {"amount": {"type": "integer"}, "tree": {"$ref": "#/$defs/tree"}},
    "$defs": {"tree": {"anyOf": [{"items": {"$ref": "#/$defs/tree"}}, {"type": "null"}]}},
}


async def test_no_answer_gets_past_its_schema_by_being_deep(house: House) -> None:
    house.asks(InputRequest("pay", "How much?", "form", TREE))
    deep: Json = []
    for _ in range(250):
        deep = [deep]
    with pytest.raises(Refused, match="too deeply"):
        await house.answer("pay", {"amount": "all", "tree": deep})
    await house.answer("pay", {"amount": 1, "tree": [[], [[]]]})


async def test_a_long_answer_is_held_to_its_schema_item_by_item(house: House) -> None:
    """Each compared with each would take hours."""
    names: Mapping[str, Json] = {
        "type": "array",
        "items": {"type": ["string", "integer"]},
        "uniqueItems": True,
    }
    house.asks(InputRequest("names", "Who?", "form", names))
    several: list[Json] = ["Ann", *range(50_000)]
    for twice in ([*several, 7], [*several, "Ann"]):
        with pytest.raises(Refused, match="twice"):
            await house.answer("names", twice)
    with pytest.raises(Refused):
        await house.answer("names", [[each] for each in several])
    await house.answer("names", several)
    assert house.pauses.given == [(house.job.id, "names", several)]


async def test_somebody_elses_job_is_not_there(house: House) -> None:
    with pytest.raises(NotFound):
        await house.answer("yes", True, user="bob")
    assert house.woken == []
