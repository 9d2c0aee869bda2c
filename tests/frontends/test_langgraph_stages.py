"""Stages in a page of `@langchain/react`, which asks for them by a channel of their own."""

import pytest

from sluice.domain.events import Done, StageCompleted, StageStarted, Token
from tests.frontends.packages import node
from tests.http.house import serving


@pytest.mark.usefixtures("packages")
async def test_a_page_shows_stages() -> None:
    plays = [StageStarted("answer", 10), Token("yes", "a"), StageCompleted("answer", 100)]
    given = {"client": "react", "question": "Why?"}
    async with serving(*plays, Done("A2", "yes")) as house:
        told = await node("langgraph_v2.mjs", "shows_stages", url=house.url, **given)
    assert told["error"] is None
    assert told["stages"] == [
        ["queued", "completed"], ["answer", "started"], ["answer", "completed"],
    ]  # fmt: skip
