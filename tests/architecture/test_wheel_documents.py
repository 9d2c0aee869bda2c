"""The offline model answers from Sluice's own documents: the wheel holds them all."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_document_is_in_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    inside = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    documents = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")}
    assert inside == {name: f"sluice/infrastructure/retrieval/{name}" for name in documents}
