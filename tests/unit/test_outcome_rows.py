"""An outcome as a row of a store, and as a row of an export."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest

from sluice.application.outcome_rows import FIELDS, flat, hashed, is_time, stored, values
from sluice.domain.outcome import Delivered, JobOutcome, StoredOutcome
from tests.doubles import a_job, an_outcome

AT = datetime(2026, 11, 1, 12, 0, 1, 250_000, tzinfo=UTC)
OUTCOME = an_outcome(
    replace(a_job(id="job"), created_at=AT - timedelta(seconds=1)),
    begun_at=AT,
    ended_at=AT,
    first_token_at=AT,
    answered_at=None,
    rollout="r",
    error="internal",
)
NOBODY = (None, None, None, None)


def test_a_user_is_known_by_the_key_only_and_by_half_of_its_hash() -> None:
    assert hashed(b"key", "무색") == "aad88236cac51d151f1bb15bd9ce385b"


def test_a_row_has_the_outcomes_fields_in_their_order() -> None:
    names = [field.name for field in fields(JobOutcome)]
    assert list(FIELDS) == names
    assert values(OUTCOME) == [getattr(OUTCOME, name) for name in names]


def test_what_is_in_no_rollout_has_an_empty_one_in_its_row_and_none_again() -> None:
    without = replace(OUTCOME, rollout=None)
    row = values(without)
    assert row == values(replace(OUTCOME, rollout=""))
    assert stored((1, AT, "user", 0, *row, *NOBODY)).outcome == without


def test_the_fields_that_are_times_are_known() -> None:
    times = ["admitted_at", "begun_at", "first_token_at", "answered_at", "ended_at"]
    assert [name for name in FIELDS if is_time(name)] == times


@pytest.mark.parametrize("yes", [0, 1])
def test_a_row_is_the_outcome_again_and_its_numbers_are_truths(yes: int) -> None:
    outcome = replace(OUTCOME, fell_back=bool(yes), spoiled=bool(1 - yes))
    row = [{True: 1, False: 0}[one] if isinstance(one, bool) else one for one in values(outcome)]
    read = stored((7, AT, "user", yes, *row, "job", AT, 0.5, yes))
    delivered = Delivered("job", AT, 0.5, bool(yes))
    assert read == StoredOutcome(7, AT, "user", bool(yes), outcome, delivered)
    found = (read.first, read.outcome.fell_back, read.outcome.spoiled, read.delivered)
    assert repr(found) == repr((bool(yes), bool(yes), not yes, delivered))


def test_of_what_nobody_read_nothing_was_delivered() -> None:
    assert stored((7, AT, "user", 1, *values(OUTCOME), *NOBODY)).delivered is None


def test_an_export_has_a_column_a_field_and_times_as_everybody_writes_them() -> None:
    told = flat(StoredOutcome(7, AT, "hash", True, OUTCOME, Delivered("job", AT, 0.5, True)))
    ours = {name: getattr(OUTCOME, name) for name in FIELDS if not is_time(name)}
    assert told == ours | {
        "admitted_at": "2026-11-01T12:00:00.250000Z",
        "begun_at": "2026-11-01T12:00:01.250000Z",
        "first_token_at": "2026-11-01T12:00:01.250000Z",
        "answered_at": None,
        "ended_at": "2026-11-01T12:00:01.250000Z",
        "user": "hash",
        "first_exposure": True,
        "first_character_at": "2026-11-01T12:00:01.250000Z",
        "longest_gap": 0.5,
        "left_early": False,
    }
    assert list(told)[: len(FIELDS)] == list(FIELDS)


@pytest.mark.parametrize(
    ("delivered", "left"), [(Delivered("job", None, None, False), True), (None, False)]
)
def test_who_was_handed_nothing_has_left_early_and_who_never_came_has_not(
    delivered: Delivered | None, left: bool
) -> None:
    told = flat(StoredOutcome(7, AT, "hash", False, OUTCOME, delivered))
    assert told["left_early"] is left
    assert (told["first_character_at"], told["longest_gap"]) == (None, None)
    assert told["first_exposure"] is False
