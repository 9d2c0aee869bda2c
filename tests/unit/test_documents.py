import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.infrastructure.retrieval.documents import Documents
from sluice.infrastructure.retrieval.passages import MAX_CHARACTERS, of_markdown

GUIDE = """\
Intro before any heading.

# Streams

## Resuming a stream

Send the id of the last event.

## Cancelling

Send a DELETE request, then the stream ends.

# 안내

## 스트림 이어받기

마지막 이벤트의 id를 보냅니다.

## 설정

환경 변수로 바꿉니다.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "guide.md").write_text(GUIDE, encoding="utf-8")
    return tmp_path


def titles(folder: Path, query: str) -> list[str]:
    return [passage.title for passage in Documents(folder).search(query)]


@pytest.mark.parametrize(
    ("question", "best"),
    [
        ("how do I resume a stream?", "Streams › Resuming a stream"),
        ("Can streams be RESUMED?", "Streams › Resuming a stream"),
        ("how can I cancel?", "Streams › Cancelling"),
        ("스트림을 어떻게 이어받나요?", "안내 › 스트림 이어받기"),
        (unicodedata.normalize("NFD", "설정은 어디서 하나요?"), "안내 › 설정"),
        ("어떤 환경변수로 바꾸나요?", "안내 › 설정"),
    ],
)
def test_a_question_finds_its_section(folder: Path, question: str, best: str) -> None:
    assert titles(folder, question)[0] == best


@pytest.mark.parametrize(
    "question", ["", "?!", "what is it?", "어떻게 하나요", "zebra", "\ud800", "\0"]
)
def test_a_question_without_a_known_word_finds_nothing(folder: Path, question: str) -> None:
    assert titles(folder, question) == []


@pytest.mark.parametrize(
    "question",
    ['resume"', "resume*", "NEAR(resume", "title:resume", "resume AND", "-resume", "a^b {resume}"],
)
def test_the_query_language_of_the_index_means_nothing_in_a_question(
    folder: Path, question: str
) -> None:
    assert "Streams › Resuming a stream" in titles(folder, question)


def test_a_very_long_question_is_answered(folder: Path) -> None:
    question = "resume " + " ".join(f"word{number}" for number in range(10_000))
    assert titles(folder, question) == ["Streams › Resuming a stream"]


def test_a_word_in_the_title_counts_more_than_one_in_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Other\n\nA cursor here.", encoding="utf-8")
    (tmp_path / "b.md").write_text("# The cursor\n\nSome words.", encoding="utf-8")
    assert titles(tmp_path, "cursor") == ["The cursor", "Other"]


def test_no_more_passages_are_given_than_asked_for(folder: Path) -> None:
    assert len(Documents(folder).search("send stream id 스트림", limit=2)) == 2


def test_many_threads_search_at_once(folder: Path) -> None:
    documents = Documents(folder)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(documents.search, ["resume a stream", "설정"] * 100))
    assert {passages[0].title for passages in found} == {
        "Streams › Resuming a stream",
        "안내 › 설정",
    }


def test_sources_are_paths_in_the_folder_and_other_files_stay_out(tmp_path: Path) -> None:
    for name in ("a.md", "deep/er/b.txt", ".hidden/c.md", ".d.md", "e.py"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("needle", encoding="utf-8")
    found = Documents(tmp_path).search("needle", limit=9)
    assert sorted((each.source, each.title) for each in found) == [
        ("a.md", "a"),
        ("deep/er/b.txt", "b"),
    ]


def test_a_bad_folder_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file.md"
    for bad in (tmp_path / "nowhere", tmp_path, file / "below"):
        with pytest.raises(ValueError, match=str(bad)):
            Documents(bad)
    file.write_bytes("한글".encode("euc-kr"))
    with pytest.raises(ValueError, match=f"{file} is not UTF-8"):
        Documents(tmp_path)


def test_a_heading_inside_a_fence_is_code() -> None:
    document = "# Shell\n\nRun:\n```sh\n# not a heading\n\nmake run\n```\nDone.\n"
    (passage,) = of_markdown("a.md", document)
    assert passage.title == "Shell"
    assert passage.text == "Run:\n\n```sh\n# not a heading\n\nmake run\n```\n\nDone."


def test_a_table_that_is_cut_repeats_its_header() -> None:
    rows = [f"| name{number} | {'meaning ' * 5}|" for number in range(100)]
    document = "\n".join(("# Settings", "", "| name | meaning |", "|---|---|", *rows))
    passages = list(of_markdown("a.md", document))
    assert len(passages) > 1
    for passage in passages:
        assert passage.text.startswith("| name | meaning |\n|---|---|\n| name")
        assert len(passage.text) <= MAX_CHARACTERS


def test_code_that_is_cut_keeps_its_fences() -> None:
    code = "\n".join(f"call({number})" for number in range(500))
    for passage in of_markdown("a.md", f"# Code\n\n```python\n{code}\n```\n"):
        assert passage.text.startswith("```python\ncall(")
        assert passage.text.endswith(")\n```")
        assert len(passage.text) <= MAX_CHARACTERS


LINES = st.sampled_from(
    [
        "# One",
        "## Three",
        "word",
        "",
        "```",
        "~~~",
        "| a | b |",
        "|---|---|",
        "x" * 3000,
        "말 " * 900,
    ]
)


@given(st.lists(LINES, max_size=30))
def test_passages_are_bounded_and_lose_no_text(lines: list[str]) -> None:
    passages = list(of_markdown("a.md", "\n".join(lines)))
    assert all(0 < len(passage.text) <= MAX_CHARACTERS for passage in passages)
    kept = "".join(passage.text for passage in passages)
    for letter in "wx말":
        assert kept.count(letter) == "".join(lines).count(letter)


@pytest.mark.parametrize(
    ("question", "source", "section"),
    [
        ("How do I resume a stream?", "events.md", "Resume a stream"),
        ("Why do I see stages but no tokens?", "troubleshooting.md", "I see stages but no tokens"),
        ("What does SLUICE_ON_DISCONNECT do?", "settings.md", "SLUICE_ON_DISCONNECT"),
        ("What is the default of SLUICE_RETENTION?", "settings.md", "What is kept"),
        ("What is Sluice?", "architecture.md", "What is Sluice?"),
        ("스트림을 어떻게 이어받나요?", "ko.md", "스트림 이어받기"),
        ("스트림을 어떻게 이어서 받나요?", "ko.md", "스트림 이어받기"),
        ("토큰이 안 나와요", "ko.md", "토큰이 안 나와요"),
        ("답변을 취소하려면?", "ko.md", "취소하기"),
    ],
)
def test_our_own_documents_answer_what_the_page_suggests(
    question: str, source: str, section: str
) -> None:
    best = Documents(Path(__file__).parents[2] / "docs").search(question)[0]
    assert (best.source, section in best.title) == (source, True)
