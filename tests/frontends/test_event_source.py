"""EventSource, which every browser has, against a proxy that cuts it."""

import asyncio
from hashlib import sha256
from typing import Any

import pytest

from sluice.application.scheduling import Bounds
from sluice.domain.events import Done, Token
from tests.cuts import CUT_IN_TIME, CUTS
from tests.frontends.cutting import Cut, cutting
from tests.frontends.packages import node
from tests.frontends.test_langgraph_v1 import LONG, NEVER_JOINED
from tests.http.house import serving

pytestmark = pytest.mark.usefixtures("packages")


@CUT_IN_TIME
@pytest.mark.parametrize("by", ["reset", "end"])
async def test_however_often_it_is_cut_event_source_has_the_whole_answer(by: Cut) -> None:
    bounds = Bounds(user_running=None, user_queued=None)
    told = list[Any]()
    plays: list[Any] = [Token("A", "a"), *NEVER_JOINED, Done("A2", f"A{LONG}")]
    async with (
        serving(*plays, bounds=bounds) as house,
        cutting(house.port, by, longest=20_000) as proxy,
    ):
        while proxy.cuts < CUTS:
            asked = await asyncio.gather(*(house.ask() for _ in range(10)))
            paths = [one["stream_url"] for one in asked]
            told += await node("event_source.mjs", "is_cut", url=proxy.url, paths=paths)
    digest = sha256(f"A{LONG}".encode()).hexdigest()
    assert {(one["sha256"], one["told"]) for one in told} == {(digest, digest)}
