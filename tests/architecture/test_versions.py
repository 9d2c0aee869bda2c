"""The Python versions that are supported: the Makefile's, which all others follow."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.services import missing

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
SUPPORTED = re.findall(r"^SUPPORTED := (.*)$", MAKEFILE, re.MULTILINE)[0].split()


def test_the_project_names_the_versions_that_make_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [each for each in project["classifiers"] if re.search(r"Python :: \d\.\d+$", each)]
    assert [each.rpartition(" ")[2] for each in named] == SUPPORTED[::-1]
    assert project["requires-python"] == f">={SUPPORTED[-1]}"


def test_the_workflow_runs_ci_on_the_oldest_and_the_short_suite_on_all_others() -> None:
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    short = ", ".join(f'"{version}"' for version in SUPPORTED[-2::-1])
    assert f"container: python:{SUPPORTED[-1]}-" in workflow
    assert f"python: [{short}]" in workflow
    assert "- run: .ci/run\n" in workflow


def test_the_image_is_built_from_every_package() -> None:
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    packages = [link.name for link in (ROOT / "sluice").iterdir() if link.is_symlink()]
    assert {f"!{name}" for name in ("sluice", *packages)} <= set(kept)


def chosen(folder: Path, *arguments: str) -> str:
    """What `make run` would make an environment with, if only `folder` were on the path."""
    make = shutil.which("make")
    if make is None:
        missing("make")
    shell = folder / "sh"
    if not shell.exists():
        shell.symlink_to("/bin/sh")
    asked = subprocess.run(
        [str(make), "--always-make", "--dry-run", "run", *arguments],
        cwd=ROOT,
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
    )
    return asked.stdout.partition(" -m venv")[0] or asked.stderr


def interpreter(folder: Path, name: str, *, runs: bool) -> None:
    """A shim that does not run and a Python without ensurepip end alike."""
    (folder / name).write_text(f"#!/bin/sh\nexit {0 if runs else 127}\n")
    (folder / name).chmod(0o755)


def test_make_takes_the_newest_python_that_runs(tmp_path: Path) -> None:
    interpreter(tmp_path, f"python{SUPPORTED[0]}", runs=False)
    for version in SUPPORTED[1:]:
        interpreter(tmp_path, f"python{version}", runs=True)
    assert chosen(tmp_path) == f"python{SUPPORTED[1]}"
    interpreter(tmp_path, f"python{SUPPORTED[0]}", runs=True)
    assert chosen(tmp_path) == f"python{SUPPORTED[0]}"
    assert chosen(tmp_path, "PYTHON=/my/python") == "/my/python"


def test_make_takes_a_python_without_a_number_if_its_version_is_supported(tmp_path: Path) -> None:
    assert "No Python" in chosen(tmp_path)
    (tmp_path / "python3").symlink_to(sys.executable)
    assert chosen(tmp_path) == "python3"
    assert "No Python" in chosen(tmp_path, "SUPPORTED=3.98 3.97")
