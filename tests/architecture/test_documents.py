"""What the documents say of the repository is so."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FOLDERS = [path.name for path in ROOT.iterdir() if path.is_dir() and path.name.isidentifier()]
FILE = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]+)(?:::\w+)?`")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
ANCHOR = re.compile(r"\]\(([^)#:]*)#([^)]+)\)")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
GLOSSARY = re.compile(r"^## Glossary\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text()
    named = {ROOT / name for name in FILE.findall(text)}
    linked = {document.parent / name for name in LINK.findall(text)}
    assert [path for path in sorted(named | linked) if not path.exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_heading_that_a_document_links_to_is_there(document: Path) -> None:
    links = ANCHOR.findall(CODE.sub("", document.read_text()))
    there = {file: anchors(document.parent / file if file else document) for file, _ in links}
    assert [(file, anchor) for file, anchor in links if anchor not in there[file]] == []


def anchors(document: Path) -> set[str]:
    """As GitHub makes them."""
    headings = HEADING.findall(CODE.sub("", document.read_text()))
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def test_reports_speak_of_the_product_and_not_of_who_made_it() -> None:
    makers = re.compile(r"\b(colleagues?|helpers?|reviewers?|sessions?)\b", re.IGNORECASE)
    reports = (ROOT / "docs" / "reports").glob("*.md")
    texts = {path.name: FILE.sub("", path.read_text()) for path in reports}
    assert {name: found for name, text in texts.items() if (found := makers.findall(text))} == {}


def test_the_glossary_has_at_most_fifteen_terms() -> None:
    (glossary,) = GLOSSARY.findall((ROOT / "docs" / "architecture.md").read_text())
    assert 0 < len(re.findall(r"^\| (?!term |---)", glossary, re.MULTILINE)) <= 15


def test_the_changelog_is_told_by_kind() -> None:
    kinds = re.findall(r"^### (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert kinds
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
