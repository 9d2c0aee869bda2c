"""The browser's client in Node, cut off by a proxy as often as the others are."""

import asyncio
import json
import shutil
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from sluice.domain.events import Done
from tests.client.cutting_proxy import Cut, cutting
from tests.client.test_client import PIECES, TEXT
from tests.cuts import CUT_IN_TIME, CUTS
from tests.http.house import serving
from tests.http.test_frame_writer import Gate
from tests.services import missing

SCRIPT = Path(__file__).parent / "ask_through.mjs"
AT_ONCE = 4


async def answers_through(url: str) -> list[dict[str, Any]]:
    node = shutil.which("node")
    if node is None:
        missing("node")
    process = await asyncio.create_subprocess_exec(
        *(str(node), str(SCRIPT), url, str(AT_ONCE)), stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    answers: list[dict[str, Any]] = json.loads(out)
    return answers


@CUT_IN_TIME
@pytest.mark.parametrize("how", ["reset", "fin", "clean"])
async def test_however_often_it_is_cut_every_answer_comes_whole_and_once(how: Cut) -> None:
    plays = [play for piece in PIECES for play in (Gate(), piece)]
    async with (
        serving(*plays, Done("A2", TEXT)) as house,
        cutting(house.port, how, CUTS, within=2400) as proxy,
    ):
        asked = 0
        while proxy.left > 0:
            answers = await answers_through(proxy.url)
            asked += len(answers)
            for answer in answers:
                ids = [tuple(map(int, each.split("-"))) for each in answer["ids"]]
                assert ids == sorted(set(ids))
                assert answer["text"] == TEXT
                assert (answer["end"], answer["verdict"]) == ("done", "verified")
        assert len(house.pipeline.asked) == asked
