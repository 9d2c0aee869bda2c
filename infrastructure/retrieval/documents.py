"""Full-text search over a folder of Markdown and text files, in memory.

Words in Latin letters are stemmed by SQLite's porter tokenizer. Korean glues particles to
its words (스트림, 스트림을, 스트림이) and Chinese and Japanese put no spaces between theirs, so
runs of those letters are indexed as overlapping pairs. Documents and questions go through
the same `_terms`, which leaves nothing of the query language in a question.
"""

import os
import re
import sqlite3
import unicodedata
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from threading import Lock
from weakref import finalize

from sluice.infrastructure.retrieval.passages import Passage, of_markdown, of_text

_READERS = {".md": of_markdown, ".markdown": of_markdown, ".txt": of_text}
_WORD = re.compile(r"[^\W_]+")
_PAIRED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
_TITLE_WEIGHT = 10.0
_MAX_TERMS = 64

_FILLER = """
a about am an and any are as at be been but by can could did do does for from give had has have
how i if in into is it its may me my need of on or our please s shall should show so t tell than
that the their them then there these they this to us was we were what when where which while who
why will with would you your
가 같은 거 것 그 그것 그럼 그리고 나 내 너 네 누가 뭐 뭔가요 무슨 무엇 무엇을 무엇이 무엇인가요
및 수 알려 알려줘 알려주세요 어디 어디서 어떤 어떻게 언제 왜 이 이것 있나요 있는 있는지 있어
있어요 있을까요 저 제 제발 좀 주세요 줘 지금 하고 하나요 하는 하려면 하면 한 할 합니까 해 해요
해주세요 되나요 된 될 때 또는 나요 인가요 설명해줘 설명해주세요
"""
_STOP_WORDS = frozenset(_FILLER.split())


class Documents:
    """The passages of a folder, read once. Safe to search from any thread."""

    def __init__(self, folder: Path) -> None:
        """Raises ValueError when the folder is not there, not readable or holds no document."""
        self._passages = list(_read(folder))
        if not self._passages:
            raise ValueError(f"{folder} holds no Markdown or text file with anything in it")
        self._lock = Lock()
        self._index = sqlite3.connect(":memory:", check_same_thread=False)
        finalize(self, self._index.close)  # from Python 3.13 on, one that is left open is warned of
        self._index.execute(
            "CREATE VIRTUAL TABLE passages USING fts5"
            "(title, body, content='', tokenize='porter unicode61')"
        )
        self._index.executemany(
            "INSERT INTO passages (rowid, title, body) VALUES (?, ?, ?)",
            (
                (row, " ".join(_terms(each.title)), " ".join(_terms(each.text)))
                for row, each in enumerate(self._passages)
            ),
        )
        self._index.commit()

    def search(self, query: str, *, limit: int = 4) -> list[Passage]:
        """Passages that share words with the query, best first; none if it has only filler."""
        words = [word for word in _words(query) if word not in _STOP_WORDS]
        terms = dict.fromkeys(term for word in words for term in _terms(word))
        if not terms:
            return []
        match = " OR ".join(f'"{term}"' for term in list(terms)[:_MAX_TERMS])
        with self._lock:
            rows = self._index.execute(
                "SELECT rowid FROM passages WHERE passages MATCH ?"
                " ORDER BY bm25(passages, ?, 1.0), rowid LIMIT ?",
                (match, _TITLE_WEIGHT, limit),
            ).fetchall()
        return [self._passages[row] for (row,) in rows]


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())


def _terms(text: str) -> Iterator[str]:
    for word in _words(text):
        for paired, run in groupby(word, lambda letter: bool(_PAIRED.match(letter))):
            letters = "".join(run)
            if paired and len(letters) > 1:
                yield from (letters[at : at + 2] for at in range(len(letters) - 1))
            elif not paired or letters == word:  # else a particle of a Latin word, as in "id가"
                yield letters


def _read(folder: Path) -> Iterator[Passage]:
    try:
        for path in sorted(_files(folder)):
            read = _READERS[path.suffix.lower()]
            yield from read(path.relative_to(folder).as_posix(), path.read_text("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8") from error


def _files(folder: Path) -> Iterator[Path]:
    """The documents below a folder, but nothing hidden. Raises OSError."""
    for root, folders, names in os.walk(folder, onerror=_give_up):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(root, name)
            if path.suffix.lower() in _READERS and not name.startswith("."):
                yield path


def _give_up(error: OSError) -> None:
    raise error
