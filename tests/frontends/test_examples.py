"""What a reader of the documentation copies runs as it stands."""

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from sluice.domain.events import Done, StageCompleted, StageStarted, Token
from tests.frontends.packages import HERE
from tests.http.house import serving

FRONTENDS = HERE.parents[1] / "examples" / "frontends"
EXAMPLES = [each for each in sorted(FRONTENDS.rglob("*.mjs")) if each.parent.name != "openai"]
"""OpenAI's is told where to ask by the environment: see test_openai.py."""
ANSWER = "무색 페트병"
PLAYS = (
    StageStarted("answer", 10),
    *(Token(word, "answer") for word in ("무색 ", "페트병")),
    StageCompleted("answer", 100),
    Done("A2", ANSWER),
)


def test_every_example_is_run_by_a_test() -> None:
    elsewhere = {"openai/chat.mjs", "openai/chat.py", "openai/librechat.yaml"}
    here = {f"{each.parent.name}/{each.name}" for each in EXAMPLES}
    found = {str(each.relative_to(FRONTENDS)) for each in FRONTENDS.rglob("*.*")}
    assert found == elsewhere | here | {"langgraph/chat.py", "langgraph/Chat.jsx"}


async def printed(*command: object) -> list[str]:
    """The lines of a program that ends well."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(50):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return out.decode().splitlines()


def copied(example: Path) -> Path:
    """Where its packages are found."""
    folder = HERE / "node_modules" / ".examples"
    folder.mkdir(exist_ok=True)
    return Path(shutil.copy(example, folder))


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
async def test_an_example_asks_and_shows_the_answer(example: Path) -> None:
    async with serving(*PLAYS) as house:
        assert (await printed("node", copied(example), house.url, "Why?"))[-1] == ANSWER


async def test_langgraphs_example_in_python_asks_and_shows_the_answer() -> None:
    async with serving(*PLAYS) as house:
        program = FRONTENDS / "langgraph" / "chat.py"
        assert await printed(sys.executable, program, house.url, "Why?") == [ANSWER]


@pytest.mark.usefixtures("packages")
async def test_langgraphs_component_asks_by_its_form_and_shows_the_answer() -> None:
    async with serving(*PLAYS) as house:
        page = copied(FRONTENDS / "langgraph" / "Chat.jsx")
        command = ("node", HERE / "component.mjs", page, f"{house.url}/langgraph", "Why?")
        assert await printed(*command) == ["Why?", ANSWER]
