"""The run behind an answered question, cut again and again: it has the whole answer, once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import pytest

from sluice.application.scheduling import Bounds
from sluice.domain.events import Done, Token
from tests.cuts import CUT_IN_TIME, CUT_WITHIN_S, CUTS
from tests.frontends.beside import ASKS
from tests.frontends.cutting import Cut, CuttingProxy, cutting
from tests.frontends.packages import node
from tests.frontends.test_langgraph_v1 import CHATS, LONG, NEVER_JOINED
from tests.http.house import House, serving
from tests.http.protocols.test_langgraph import clients, run, said
from tests.waiting import until

BY = pytest.mark.parametrize("by", ["reset", "end"])
BEFORE = "Well. "
DIGEST = sha256((BEFORE + LONG).encode()).hexdigest()


@asynccontextmanager
async def cut_often(by: Cut) -> AsyncIterator[tuple[House, CuttingProxy]]:
    """As in test_langgraph_v1.py: no job ends before all are back after a cut."""
    held = asyncio.Event()
    plays: list[Any] = [Token(BEFORE, "a"), ASKS, *NEVER_JOINED, held, Done("A2", BEFORE + LONG)]
    bounds = Bounds(running=CHATS, user_running=CHATS)
    async with (
        serving(*plays, bounds=bounds) as house,
        cutting(house.port, by, longest=1500, framed=by == "end") as proxy,
    ):

        async def release() -> None:
            await until(lambda: proxy.streams == CUTS + CHATS, within=CUT_WITHIN_S, every=0.05)
            held.set()

        releasing = asyncio.create_task(release())
        yield house, proxy
        await releasing
        assert proxy.cuts == CUTS
        assert len(house.pipeline.asked) == 2 * CHATS


@pytest.mark.usefixtures("packages")
@CUT_IN_TIME
@BY
async def test_a_run_that_was_cut_behind_its_question_is_whole_in_javascript(by: Cut) -> None:
    async with cut_often(by) as (house, proxy):
        given = {"whole": house.url, "question": "Why?", "value": True}
        told = await node("langgraph_v1.mjs", "resumed_is_cut", url=proxy.url, chats=CHATS, **given)
    assert [(one["sha256"], one["messages"], one["last"]) for one in told] == [
        (DIGEST, 1, "end")
    ] * CHATS


@pytest.mark.filterwarnings("ignore:Reconnecting without a Last-Event-ID")
@CUT_IN_TIME
@BY
async def test_a_run_that_was_cut_behind_its_question_is_whole_in_python(by: Cut) -> None:
    async with (
        cut_often(by) as (house, proxy),
        clients(house.url) as direct,
        clients(proxy.url) as client,
    ):

        async def one() -> list[str]:
            thread = (await direct.threads.create())["thread_id"]
            await run(direct, thread)
            resumed = await run(client, thread, input=None, command={"resume": True})
            return list(said(resumed).values())

        told = await asyncio.gather(*(one() for _ in range(CHATS)))
    assert [[sha256(text.encode()).hexdigest() for text in one] for one in told] == [
        [DIGEST]
    ] * CHATS


@pytest.mark.usefixtures("packages")
@CUT_IN_TIME
@BY
@pytest.mark.parametrize("client", ["react", "controller"])
async def test_a_page_that_is_cut_around_its_question_shows_the_whole_answer(
    client: str, by: Cut
) -> None:
    """The newer protocol's stream stays open from the question to the answer's end."""
    said_on = [Token(piece, "a") for piece in LONG]
    plays = [Token(BEFORE, "a"), ASKS, *said_on, Done("A2", BEFORE + LONG)]
    bounds = Bounds(user_running=None, user_queued=None)
    length = len((BEFORE + LONG).encode("utf-16-le")) // 2
    given = {"question": "Why?", "value": True, "length": length, "chats": max(10, CUTS // 4)}
    told = list[Any]()
    async with (
        serving(*plays, bounds=bounds) as house,
        cutting(house.port, by, longest=20_000) as proxy,
    ):
        while proxy.cuts < CUTS:
            told += await node("langgraph_v2.mjs", "is_cut", url=proxy.url, client=client, **given)
        assert len(house.pipeline.asked) == 2 * len(told)
    assert {(one["sha256"], one["messages"], one["error"]) for one in told} == {(DIGEST, 2, None)}
