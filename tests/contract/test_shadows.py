"""What every store of shadow runs promises. A new one joins with one fixture parameter."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sluice.application.outcomes import OutcomesPort
from sluice.application.shadows import ShadowsPort, ShowShadows
from sluice.domain.chat import new_id
from sluice.domain.rollout import Share
from sluice.domain.shadow import ShadowRun, Side
from sluice.infrastructure.outcomes.postgres import PostgresOutcomes
from sluice.infrastructure.outcomes.postgres_shadows import PostgresShadows
from sluice.infrastructure.outcomes.sqlite import SqliteOutcomes
from sluice.infrastructure.outcomes.sqlite_shadows import SqliteShadows
from sluice.infrastructure.postgres.database import PostgresDatabase
from sluice.infrastructure.sqlite.database import SqliteDatabase
from tests.contract.postgres import drop

REAL = Side("A2", first_token=0.25, answer=1.5, input_tokens=3, output_tokens=2, length=2)
OTHER = Side("A1", answer=2.5, input_tokens=3, output_tokens=4, length=2)


@dataclass(frozen=True)
class Stores:
    shadows: ShadowsPort
    outcomes: OutcomesPort


@pytest.fixture(params=["sqlite", "sqlite in memory", "postgres"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        shared = PostgresDatabase(url, schema=f"test_{secrets.token_hex(8)}")
        await shared.open()
        yield Stores(PostgresShadows(shared), PostgresOutcomes(shared))
        await shared.run(drop)
        await shared.aclose()
        return
    database = SqliteDatabase(tmp_path / "a.db" if request.param == "sqlite" else ":memory:")
    await database.open()
    yield Stores(SqliteShadows(database), SqliteOutcomes(database))
    await database.aclose()


def a_run(tokens: int = 5) -> ShadowRun:
    return ShadowRun(new_id(), "running", REAL, Side("A1"), tokens=tokens)


async def test_a_run_comes_back_exactly_as_it_ended(stores: Stores) -> None:
    run = a_run()
    assert await stores.shadows.begin(run, 100)
    assert list(await stores.shadows.newest(9)) == [run]
    ended = replace(
        run, state="ended", shadow=OTHER, tokens=2**40, same_text=True, same_stages=False
    )
    await stores.shadows.keep(ended)
    assert list(await stores.shadows.newest(9)) == [ended]
    assert await stores.shadows.spent() == 2**40


async def test_the_newest_come_first(stores: Stores) -> None:
    runs = [a_run() for _ in range(3)]
    for run in runs:
        await stores.shadows.keep(run)
        await asyncio.sleep(0.001)
    assert list(await stores.shadows.newest(2)) == [runs[2], runs[1]]


async def test_a_budget_is_taken_by_as_many_as_it_has_room_for_however_many_ask_at_once(
    stores: Stores,
) -> None:
    begun = await asyncio.gather(*(stores.shadows.begin(a_run(), 17) for _ in range(12)))
    assert sum(begun) == 3
    assert await stores.shadows.spent() == 15
    assert len(await stores.shadows.newest(99)) == 3


async def test_a_job_has_one_shadow(stores: Stores) -> None:
    run = a_run()
    assert [await stores.shadows.begin(run, 99) for _ in range(2)] == [True, False]
    assert await stores.shadows.spent() == 5


async def test_they_are_forgotten_with_the_outcomes(stores: Stores) -> None:
    await stores.shadows.keep(a_run())
    now = datetime.now(UTC)
    await stores.outcomes.forget(now - timedelta(minutes=1))
    assert await stores.shadows.spent() == 5
    await stores.outcomes.forget(now + timedelta(minutes=1))
    assert (await stores.shadows.spent(), list(await stores.shadows.newest(9))) == (0, [])


async def test_figures_are_of_pairs_whichever_side_was_the_users(stores: Stores) -> None:
    one = replace(a_run(), state="ended", shadow=OTHER, same_text=True, same_stages=True)
    two = replace(
        a_run(7), state="ended", real=OTHER, shadow=REAL, same_text=False, same_stages=True
    )
    failed = replace(a_run(), state="ended", shadow=Side("A1", "internal"))
    uncounted = replace(
        one, job_id=new_id(), shadow=replace(OTHER, output_tokens=None, answer=99.0)
    )
    skipped = replace(a_run(0), state="skipped", skipped="busy")
    for run in (one, two, failed, uncounted, skipped, replace(a_run(), state="cancelled"), a_run()):
        await stores.shadows.keep(run)
    found = await ShowShadows(stores.shadows, Share(1), 100)()
    assert found is not None
    assert (found.share, found.budget, found.spent) == (1, 100, 32)
    assert (found.runs, found.unfinished, found.cancelled) == (4, 1, 1)
    assert dict(found.skipped) == {"busy": 1}
    assert (found.same_text.count, found.same_text.of, found.same_stages.count) == (2, 3, 3)
    a1, a2 = found.paths["A1"], found.paths["A2"]
    assert (a1.failed.count, a1.failed.of, a2.failed.count) == (1, 4, 0)
    assert (a1.first_token, a2.first_token and a2.first_token.value) == (None, 0.25)
    assert (a1.answer and a1.answer.value, a2.answer and a2.answer.value) == (2.5, 1.5)
    assert (a1.input_tokens, a1.output_tokens, a2.output_tokens) == (6, 8, 4)


async def test_without_a_share_and_a_run_there_is_nothing_to_show(stores: Stores) -> None:
    assert await ShowShadows(stores.shadows, Share(0), 100)() is None
    shown = await ShowShadows(stores.shadows, Share(1), 100)()
    assert shown is not None
    assert (shown.runs, shown.same_text.interval) == (0, None)
    await stores.shadows.keep(a_run())
    assert await ShowShadows(stores.shadows, Share(0), 100)() is not None
