"""A user's project whose packages are called like Sluice's layers is served and tested as it is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live import layered_project
from tests.live.process import ROOT, environment
from tests.live.service import Service

SLUICE = str(Path(sys.executable).parent / "sluice")

LEFT_OVER = """\
def test_nobody_asks(scripted_llm):
    scripted_llm("never asked for")
"""


class Installed(Service):
    """As a user starts it: the command, and nothing on the path but what it puts there."""

    program = (SLUICE,)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    layered_project.write(tmp_path)
    return tmp_path


def ran(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=50
    )


@pytest.mark.parametrize("path", ["A1", "A2"])
async def test_a_graph_beside_packages_of_all_four_names_is_served(
    project: Path, path: str
) -> None:
    service = Installed(
        project / "service.log",
        {
            "SLUICE_PIPELINE": "domain.graph:build",
            "SLUICE_STORE": "memory://",
            "ENABLE_TOKEN_STREAMING": str(path == "A2").lower(),
        },
    )
    service.folder = project
    try:
        await service.start()
        told = await service.told("Are you there?")
    finally:
        await service.aclose()
    assert (told[-1].name, told[-1].data["path"]) == ("done", path)
    assert told[-1].data["answer"].startswith("Hello! ")
    assert ("token" in {received.name for received in told}) == (path == "A2")


@pytest.mark.parametrize("name", ["domain", "tests", "examples", "benchmarks", "docs"])
def test_a_module_the_project_does_not_have_is_not_found_in_sluices_own_folder(
    tmp_path: Path, name: str
) -> None:
    refused = ran(tmp_path, SLUICE, "serve", "--store", "memory://", "--pipeline", f"{name}:build")
    assert refused.returncode == 2
    assert f"No module named '{name}'" in refused.stderr


def test_its_own_tests_find_the_scripted_model_by_themselves(project: Path) -> None:
    tested = ran(project, sys.executable, "-m", "pytest", "-q", "-W", "error")
    assert tested.returncode == 0, tested.stdout
    assert "2 passed" in tested.stdout


def test_the_test_in_the_reference_passes_for_the_graph_in_the_readme(tmp_path: Path) -> None:
    for document, name, first in [
        ("README.md", "my_graph.py", "# my_graph.py"),
        ("docs/reference.md", "test_graph.py", "import asyncio"),
    ]:
        blocks = re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)
        (code,) = [block for block in blocks if block.startswith(first)]
        (tmp_path / name).write_text(code)
    tested = ran(tmp_path, sys.executable, "-m", "pytest", "-q", "-W", "error")
    assert "1 passed" in tested.stdout, tested.stdout


def test_a_reply_that_nobody_asked_for_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test_left.py").write_text(LEFT_OVER)
    tested = ran(tmp_path, sys.executable, "-m", "pytest", "-q")
    assert tested.returncode == 1
    assert "nobody asked for these replies: ['never asked for']" in tested.stdout
