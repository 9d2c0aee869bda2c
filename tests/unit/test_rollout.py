"""The rollout: on, off, or a share of users that grows without moving anybody back."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openfeature.evaluation_context import EvaluationContext
from openfeature.provider.in_memory_provider import InMemoryProvider

from sluice.infrastructure.flags.rollout import OpenFeatureFlag, Share
from tests.strategies import TEXT

USERS = [f"user-{number}" for number in range(10_000)]
PERCENT = st.floats(0, 100)


async def test_on_gives_everybody_tokens_and_off_nobody() -> None:
    on, off = OpenFeatureFlag(Share(100)), OpenFeatureFlag(Share(0))
    assert {await on.path(user) for user in USERS[:100]} == {"A2"}
    assert {await off.path(user) for user in USERS[:100]} == {"A1"}


async def test_its_provider_is_ready_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that takes a moment, as any that asks another service does."""
    ready: list[bool] = []

    def initialize(_provider: InMemoryProvider, _context: EvaluationContext) -> None:
        time.sleep(0.05)
        ready.append(True)

    monkeypatch.setattr(InMemoryProvider, "initialize", initialize)
    flag = OpenFeatureFlag(Share(100))
    assert ready == [True]
    assert await flag.path("user") == "A2"


@given(TEXT)
def test_every_key_is_within_all_and_none_within_nothing(key: str) -> None:
    assert Share(100).holds(key)
    assert not Share(0).holds(key)


@given(TEXT, PERCENT, PERCENT)
def test_who_is_in_stays_in_while_the_share_grows(key: str, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert Share(large).holds(key) >= Share(small).holds(key)


@pytest.mark.parametrize("percent", [0.5, 1, 10, 25, 50, 75, 99])
def test_a_share_is_about_as_large_as_it_says(percent: float) -> None:
    """Within four standard deviations; sha256 gives the same figure in every run."""
    share = percent / 100
    streaming = sum(Share(percent).holds(user) for user in USERS)
    spread = (len(USERS) * share * (1 - share)) ** 0.5
    assert abs(streaming - len(USERS) * share) < 4 * spread


async def test_the_flag_draws_as_its_share_does() -> None:
    flag = OpenFeatureFlag(Share(25))
    drawn = [await flag.path(user) for user in USERS[:300]]
    assert drawn == ["A2" if Share(25).holds(user) else "A1" for user in USERS[:300]]


async def test_two_flags_in_one_process_do_not_share_their_share() -> None:
    on, off = OpenFeatureFlag(Share(100)), OpenFeatureFlag(Share(0))
    assert (await on.path("ann"), await off.path("ann")) == ("A2", "A1")


def test_who_is_in_is_the_same_in_every_process_and_version() -> None:
    assert [user for user in USERS[:40] if Share(10).holds(user)] == [
        "user-2", "user-14", "user-21", "user-23", "user-29", "user-32", "user-36", "user-39",
    ]  # fmt: skip
