"""The rollout: on, off, or a share of users that grows without moving anybody back."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.application.rollout import ControlShare, RolloutFlag
from sluice.application.rollout_changes import SetShare, ShowRollout
from sluice.domain.errors import Conflict, Outdated, Unavailable
from sluice.domain.rollout import Flag, Share
from sluice.domain.share_change import ShareChange
from sluice.infrastructure.flags.sqlite_changes import SqliteShareChanges
from sluice.infrastructure.outcomes.sqlite import SqliteOutcomes
from sluice.infrastructure.sqlite.database import SqliteDatabase
from tests.doubles import SaidShare
from tests.strategies import TEXT
from tests.waiting import until

USERS = [f"user-{number}" for number in range(10_000)]
PERCENT = st.floats(0, 100)
ON, OFF = Share.parse("true"), Share.parse("false")


@pytest.fixture
async def changes() -> AsyncIterator[SqliteShareChanges]:
    database = SqliteDatabase(":memory:")
    await database.open()
    yield SqliteShareChanges(database)
    await database.aclose()


async def streaming(flag: RolloutFlag) -> set[str]:
    """The users who take A2."""
    return {user for user in USERS if (await flag.decide(user)).path == "A2"}


@given(TEXT)
def test_every_key_is_within_all_and_none_within_nothing(key: str) -> None:
    assert Share(100).holds(key)
    assert not Share(0).holds(key)


@given(TEXT, PERCENT, PERCENT)
def test_who_is_in_stays_in_while_the_share_grows(key: str, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert Share(large).holds(key) >= Share(small).holds(key)


@pytest.mark.parametrize("percent", [1, 5, 25, 50])
async def test_ten_thousand_users_meet_a_share_within_its_exact_binomial_bounds(
    percent: int,
) -> None:
    """Two-sided, at one in ten thousand; sha256 gives the same figure in every run."""
    met = len(await streaming(RolloutFlag(Share(percent))))
    chances = list(binomial(len(USERS), percent))
    assert sum(chances) == 100 ** len(USERS)
    assert sum(chances[: met + 1]) * 20_000 > sum(chances)
    assert sum(chances[met:]) * 20_000 > sum(chances)


def binomial(users: int, percent: int) -> Iterator[int]:
    """The chance of each number of hits, in whole parts of 100 ** users."""
    chance = (100 - percent) ** users
    for hits in range(users + 1):
        yield chance
        chance = chance * (users - hits) * percent // ((hits + 1) * (100 - percent))


async def test_a_ramp_only_lets_users_in_and_its_way_back_only_lets_them_out() -> None:
    ramp = [await streaming(RolloutFlag(Share(percent))) for percent in (0, 1, 5, 25, 50, 100)]
    assert all(smaller <= larger for smaller, larger in pairwise(ramp))
    assert ramp[-1] == set(USERS)


async def test_who_is_in_is_the_same_in_every_process_and_version() -> None:
    flag = RolloutFlag(Share(10))
    taken = [user for user in USERS[:40] if (await flag.decide(user)).path == "A2"]
    assert taken == [user for user in USERS[:40] if Share(10).holds(user)]
    assert taken == [
        "user-2", "user-14", "user-21", "user-23", "user-29", "user-32", "user-36", "user-39",
    ]  # fmt: skip


@pytest.mark.parametrize(("switch", "path", "percent"), [(ON, "A2", 100), (OFF, "A1", 0)])
async def test_on_and_off_in_the_environment_win_over_everything(
    switch: Share, path: str, percent: float
) -> None:
    """Also before anybody could know what operators or a provider say."""
    flag = RolloutFlag(switch, [SaidShare(Flag(50, "control", "control", "r"), away=True)])
    for asked in (None, "A1", "A2"):
        decision = await flag.decide("ann", asked)
        assert (decision.path, decision.flag) == (path, Flag(percent, "static", "env"))


CONTROL, PROVIDER = Flag(0, "control", "control", "r"), Flag(100, "split", "flagd")


@pytest.mark.parametrize(
    ("said", "flag", "path"),
    [
        ([CONTROL, PROVIDER], CONTROL, "A1"),
        ([None, PROVIDER], PROVIDER, "A2"),
        ([CONTROL, None], CONTROL, "A1"),
        ([None, None], Flag(100, "split", "env"), "A2"),
        ([], Flag(100, "split", "env"), "A2"),
    ],
)
async def test_operators_win_over_the_provider_and_it_over_the_percentage(
    said: Sequence[Flag | None], flag: Flag, path: str
) -> None:
    decision = await RolloutFlag(Share(100), [SaidShare(one) for one in said]).decide("ann")
    assert (decision.flag, decision.path) == (flag, path)


async def test_a_request_that_chooses_wins_over_every_share_and_is_marked() -> None:
    decision = await RolloutFlag(Share(50), [SaidShare(CONTROL)]).decide("ann", "A2")
    assert (decision.path, decision.flag) == ("A2", Flag(0, "header", "control", "r"))


async def test_every_source_gives_the_same_users_for_the_same_share() -> None:
    sets = [
        await streaming(RolloutFlag(Share(25))),
        await streaming(RolloutFlag(Share(3), [SaidShare(Flag(25, "control", "control", "r"))])),
        await streaming(RolloutFlag(Share(3), [SaidShare(Flag(25.0, "stale", "flagd"))])),
    ]
    assert sets[0] == sets[1] == sets[2]


async def test_a_share_that_is_set_is_in_force_at_once_and_after_a_restart(
    changes: SqliteShareChanges,
) -> None:
    control = ControlShare(changes)
    flag = RolloutFlag(Share(5), [control])
    await SetShare(flag, control, changes)("ann", 25, "a step", after=0)
    again = RolloutFlag(Share(5), [ControlShare(changes)])
    assert (
        await streaming(flag) == await streaming(again) == await streaming(RolloutFlag(Share(25)))
    )


async def test_the_changes_tell_who_when_from_to_and_why(changes: SqliteShareChanges) -> None:
    outcomes = SqliteOutcomes(changes._database)
    control = ControlShare(changes)
    flag = RolloutFlag(Share(5), [control])
    set_share = SetShare(flag, control, changes)
    await set_share("ann", 25, "a step", after=0)
    await set_share("bob", 50, None, after=1)
    view = await ShowRollout(flag, control, changes, outcomes)()
    assert (view.number, view.flag, view.environment) == (2, flag.flag, Share(5))
    assert view.history is not None
    told = [(one.number, one.by, one.before, one.after, one.why) for one in view.history]
    assert told == [(2, "bob", 25, 50, None), (1, "ann", 5, 25, "a step")]
    assert view.history[0].at >= view.history[1].at


async def test_the_twenty_newest_changes_are_shown_and_before_the_first_there_is_none(
    changes: SqliteShareChanges,
) -> None:
    control = ControlShare(changes)
    flag = RolloutFlag(Share(5), [control])
    show = ShowRollout(flag, control, changes, SqliteOutcomes(changes._database))
    before = await show()
    assert (before.number, before.history) == (0, [])
    for share in range(21):
        await SetShare(flag, control, changes)("ann", share, None, after=None)
    view = await show()
    assert view.history is not None
    assert [one.number for one in view.history] == list(range(21, 1, -1))
    assert view.number == 21


async def test_a_rollout_lasts_from_its_first_share_until_it_is_given_back(
    changes: SqliteShareChanges,
) -> None:
    control = ControlShare(changes)
    flag = RolloutFlag(Share(5), [control])
    set_share = SetShare(flag, control, changes)
    for share in (1, 25, None, 50):
        await set_share("ann", share, None, after=None)
    fourth, third, second, first = await changes.newest(9)
    assert first.rollout == second.rollout == third.rollout != fourth.rollout
    assert flag.flag == Flag(50, "control", "control", fourth.rollout)


async def test_a_share_that_is_given_back_is_the_environments_again(
    changes: SqliteShareChanges,
) -> None:
    control = ControlShare(changes)
    flag = RolloutFlag(Share(5), [control])
    set_share = SetShare(flag, control, changes)
    await set_share("ann", 25, None, after=0)
    await set_share("ann", None, None, after=1)
    assert flag.flag == Flag(5, "split", "env")


@pytest.mark.parametrize("switch", [ON, OFF])
async def test_nobody_sets_a_share_while_the_environment_says_on_or_off(
    switch: Share, changes: SqliteShareChanges
) -> None:
    control = ControlShare(changes)
    with pytest.raises(Conflict):
        await SetShare(RolloutFlag(switch, [control]), control, changes)("ann", 5, None, after=0)
    assert await changes.newest(9) == []


@pytest.mark.parametrize("after", [0, 2, 999])
async def test_a_change_of_what_was_changed_meanwhile_is_refused(
    after: int, changes: SqliteShareChanges
) -> None:
    control = ControlShare(changes)
    set_share = SetShare(RolloutFlag(Share(5), [control]), control, changes)
    await set_share("ann", 25, None, after=0)
    with pytest.raises(Outdated):
        await set_share("bob", 50, None, after=after)
    assert len(await changes.newest(9)) == 1


class Away(SqliteShareChanges):
    """Cannot be read while `away`; counts who tried."""

    away = False
    refused = 0

    async def newest(self, limit: int) -> Sequence[ShareChange]:
        if self.away:
            self.refused += 1
            raise Unavailable("away")
        return await super().newest(limit)


async def test_a_store_that_is_away_keeps_the_last_share_and_moves_nobody() -> None:
    database = SqliteDatabase(":memory:")
    await database.open()
    changes, outcomes = Away(database), SqliteOutcomes(database)
    control = ControlShare(changes)
    flag = RolloutFlag(Share(5), [control])
    await SetShare(flag, control, changes)("ann", 25, None, after=0)
    before = await streaming(flag)
    changes.away = True
    with pytest.raises(Unavailable):
        await control.refresh()
    assert (flag.flag.reason, flag.flag.share) == ("stale", 25)
    assert await streaming(flag) == before
    assert (await ShowRollout(flag, control, changes, outcomes)()).history is None
    changes.away = False
    await control.refresh()
    assert (flag.flag.reason, flag.flag.share) == ("control", 25)
    await database.aclose()


async def test_no_job_is_drawn_by_a_guess_before_the_store_was_ever_read() -> None:
    """It would take the environment's share, and another path once the store is back."""
    database = SqliteDatabase(":memory:")
    await database.open()
    changes = Away(database)
    changes.away = True
    flag = RolloutFlag(Share(5), [ControlShare(changes)])
    with pytest.raises(Unavailable):
        await flag.decide("ann")
    changes.away = False
    assert (await flag.decide("ann")).flag == Flag(5, "split", "env")
    await database.aclose()


async def test_a_share_is_looked_for_again_while_its_store_is_away() -> None:
    database = SqliteDatabase(":memory:")
    await database.open()
    changes = Away(database)
    setter, looking = ControlShare(changes), ControlShare(changes, poll=0.001)
    await SetShare(RolloutFlag(Share(5), [setter]), setter, changes)("ann", 25, None, after=0)
    changes.away = True
    keeping = asyncio.create_task(looking.keep())
    await until(lambda: changes.refused > 1)
    changes.away = False
    await until(lambda: looking.flag is not None)
    keeping.cancel()
    await asyncio.wait([keeping])
    await database.aclose()


async def test_a_share_is_in_force_here_also_if_nobody_else_can_be_told(
    changes: SqliteShareChanges,
) -> None:
    async def announce() -> None:
        raise Unavailable("away")

    control = ControlShare(changes)
    flag = RolloutFlag(Share(5), [control])
    await SetShare(flag, control, changes, announce)("ann", 25, None, after=0)
    assert flag.flag.share == 25


async def test_the_log_tells_each_change_and_each_outage_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "sluice.application.rollout")
    database = SqliteDatabase(":memory:")
    await database.open()
    changes = Away(database)
    control = ControlShare(changes)
    set_share = SetShare(RolloutFlag(Share(5), [control]), control, changes)
    await control.refresh()
    for share in (12.5, None):
        await set_share("ann", share, None, after=None)
        await control.refresh()
    lines = []
    for changes.away in (True, True, False, False):
        with suppress(Unavailable):
            await control.refresh()
        lines.append(len(caplog.records))
    assert lines == [3, 3, 4, 4]
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "operators' share: 12.5 % (change 1)"),
        ("INFO", "operators' share: given back (change 2)"),
        ("WARNING", "the store of the share cannot be read: the last one known stays"),
        ("WARNING", "the store of the share can be read again"),
    ]
    await database.aclose()


async def test_what_is_changed_elsewhere_is_found_by_looking_and_at_once_when_told(
    changes: SqliteShareChanges,
) -> None:
    """Two gateways over one store: one looks every moment, one only when it is told."""
    here, there = ControlShare(changes, poll=0.01), ControlShare(changes, poll=3600)
    setter = ControlShare(changes)
    set_share = SetShare(RolloutFlag(Share(5), [setter]), setter, changes)
    await set_share("ann", 25, None, after=0)
    keeping = [asyncio.create_task(one.keep()) for one in (here, there)]
    await until(lambda: None is not here.flag == there.flag)
    await set_share("ann", 50, None, after=1)
    await until(lambda: here.flag is not None and here.flag.share == 50)
    there.wake()
    await until(lambda: there.flag == here.flag)
    for task in keeping:
        task.cancel()
    await asyncio.wait(keeping)
