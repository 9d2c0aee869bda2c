"""What a reader of the documentation copies runs as it stands."""

import asyncio
import shutil
from pathlib import Path

import pytest

from sluice.domain.events import Done, StageCompleted, StageStarted, Token
from tests.frontends.packages import HERE
from tests.http.house import serving

FRONTENDS = HERE.parents[1] / "examples" / "frontends"
EXAMPLES = [each for each in sorted(FRONTENDS.rglob("*.mjs")) if each.parent.name != "openai"]
"""OpenAI's is told where to ask by the environment: see test_openai.py."""


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
async def test_an_example_asks_and_shows_the_answer(example: Path) -> None:
    folder = HERE / "node_modules" / ".examples"  # where its packages are found
    folder.mkdir(exist_ok=True)
    script = Path(shutil.copy(example, folder))
    plays = StageStarted("answer", 10), Token("무색 ", "answer"), Token("페트병", "answer")
    ends = StageCompleted("answer", 100), Done("A2", "무색 페트병")
    async with serving(*plays, *ends) as house:
        process = await asyncio.create_subprocess_exec(
            *("node", script, house.url, "Why?"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(50):
            out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert out.decode().split("\n")[-2] == "무색 페트병"
