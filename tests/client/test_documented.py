"""What the documents show of our clients is run as it stands there, but for the address."""

import asyncio
import re
import shlex
import shutil
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.http.house import ANSWER, TOLD, frames, serving, text
from tests.services import missing

ROOT = Path(__file__).parents[2]
FRONTENDS = ROOT / "docs" / "frontends.md"
HERE = "http://127.0.0.1:8000"


def shown(document: Path, language: str, having: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", document.read_text(), re.DOTALL)
    return next(str(block) for block in blocks if having in block)


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        missing(name)
    return str(found)


async def written(*program: str) -> str:
    process = await asyncio.create_subprocess_exec(*program, stdout=PIPE, stderr=PIPE)
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, "")
    return out.decode()


async def test_the_python_of_the_documents_prints_the_answer() -> None:
    code = shown(FRONTENDS, "python", "client.ask")
    async with serving(*TOLD) as house:
        assert await written(sys.executable, "-c", code.replace(HERE, house.url)) == ANSWER


async def test_the_javascript_of_the_documents_verifies_the_answer() -> None:
    node = program("node")
    code = shown(FRONTENDS, "js", "client.ask").replace(
        "/assets/client.js", str(ROOT / "interfaces" / "web" / "client.js")
    )
    async with serving(*TOLD) as house:
        code = code.replace("connect({", f'connect({{ base: "{house.url}",')
        code = f'const token = "";\n{code}'
        assert await written(node, "--input-type=module", "-e", code) == f"{ANSWER} verified\n"


async def test_the_one_line_of_the_readme_is_answered_with_the_stream() -> None:
    curl = program("curl")
    for document in (ROOT / "README.md", FRONTENDS):
        line = shown(document, "(?:bash|sh)", "text/event-stream").replace("BASE=" + HERE, "")
        async with serving(*TOLD) as house:
            asked = line.replace("$BASE", house.url).replace(HERE, house.url)
            out = await written(curl, *shlex.split(asked)[1:])
        head, _, body = out.partition("\r\n\r\n")
        assert " 200 " in head.splitlines()[0]
        assert text(frames(body.encode())) == ANSWER
