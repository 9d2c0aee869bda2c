"""The Python versions that are supported: the Makefile's, which all others follow."""

import re
import tomllib
from pathlib import Path

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
