"""What operators are shown of a rollout, also while its store is away."""

from typing import Any

import pytest

from sluice.application.rollout_changes import ShowRollout
from sluice.application.shadows import ShowShadows
from sluice.domain.rollout import Flag, Share
from tests.unit.operated import RUNS, House, started
from tests.unit.rollouts import AT


@pytest.fixture
def house() -> House:
    return House()


async def test_before_the_first_change_the_environment_is_shown(house: House) -> None:
    house.outcomes.write(rollout=None)
    house.outcomes.seen.append(("r", AT, "{}"))
    view = await house.show()
    assert (view.flag, view.environment) == (Flag(10, "split", "env"), Share(10))
    assert (view.number, view.history, view.latest, view.looks) == (0, [], None, ())
    assert view.arms is not None
    assert view.arms["A1"].jobs == 1
    assert "late" not in view.arms["A1"].bad


async def test_a_rollout_is_shown_as_it_is_in_force_with_its_own_jobs_and_looks() -> None:
    house = started("running")
    house.outcomes.write(took=4)
    house.outcomes.write(rollout=None)
    house.outcomes.seen += [("r", AT, "first"), ("r", AT, "second"), ("other", AT, "third")]
    view = await house.show(limit=7)
    assert (view.number, view.history, view.latest) == (1, [RUNS], RUNS)
    assert view.flag == Flag(25, "control", "control", "r")
    assert view.looks == ["second"]
    assert house.changes.limits[0] == 7
    assert house.outcomes.asked == [("r", 2000)]
    assert view.arms is not None
    assert (view.arms["A1"].jobs, view.arms["A1"].bad["late"].count) == (1, 1)
    assert (await house.show(looks=0)).looks == ()
    assert (await house.show(looks=2)).looks == ["second", "first"]


async def test_twenty_changes_are_shown_unless_it_is_said_how_many(house: House) -> None:
    await house.show()
    assert house.changes.limits[0] == 20


async def test_behind_a_share_that_was_given_back_jobs_of_no_rollout_are_shown() -> None:
    house = started(None, after=None)
    house.outcomes.write()
    house.outcomes.seen.append(("r", AT, "{}"))
    view = await house.show()
    assert view.arms is not None
    assert (view.arms["A1"].jobs, view.looks, view.number) == (0, (), 1)


async def test_while_the_store_is_away_what_is_known_is_shown() -> None:
    house = started("running")
    await house.control.refresh()
    house.changes.away = True
    view = await house.show()
    assert (view.number, view.history, view.arms, view.looks) == (0, None, None, ())
    assert (view.latest, view.flag.share) == (RUNS, 25)


class NoRuns:
    async def newest(self, limit: int) -> list[Any]:
        return []

    async def spent(self) -> int:
        return 3


async def test_what_the_shadows_cost_is_shown_where_there_are_any(house: House) -> None:
    assert (await house.show()).shadow is None
    stores: Any = house.outcomes
    shadows: Any = NoRuns()
    shown = ShowShadows(shadows, Share(1), 500)
    show = ShowRollout(house.flag, house.control, house.changes, stores, shown)
    figures = (await show()).shadow
    assert figures is not None
    assert (figures.share, figures.budget, figures.spent) == (1, 500, 3)
