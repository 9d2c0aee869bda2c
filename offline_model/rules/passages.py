"""The passages a prompt quotes, and the sentences among them that fit a question best."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import unescape
from itertools import pairwise

from .language import features, is_korean

_OPENING = re.compile(r'<passage source="([^"]*)"(?: title="([^"]*)")?>')
_CLOSING = "</passage>"
_HEADING = re.compile(r"#{1,6} ")
_BULLET = re.compile(r"(?:[-*+]|\d+[.)]) +")
_RULE = re.compile(r"[\s|:=-]+")
_SENTENCE_END = re.compile(r"(?<=[.!?。])(?<!e\.g\.)(?<!i\.e\.)\s+")
_AT_MOST = 4
_NEAR_THE_BEST = 0.6
_TITLE = 0.3
_NEIGHBOUR = 0.7
_OTHER_LANGUAGE = 0.7


@dataclass(frozen=True, slots=True)
class Quote:
    text: str
    source: str
    title: str
    paragraph: str = field(compare=False)


def without_passages(text: str) -> str:
    *parts, rest = text.split(_CLOSING)
    return "".join([*(_OPENING.split(part, maxsplit=1)[0] for part in parts), rest]).strip()


def quotes(text: str) -> list[Quote]:
    """Every sentence, table row and line of code of the passages in a text, each once."""
    found = dict.fromkeys(
        Quote(sentence, unescape(opening[1]), unescape(opening[2] or ""), block)
        for part in text.split(_CLOSING)[:-1]
        if (opening := _OPENING.search(part))
        for block in _blocks(part[opening.end() :].replace("<\\/passage", "</passage"))
        for sentence in _SENTENCE_END.split(block)
        if len(sentence) > 1
    )
    return list(found)


def best(question: str, candidates: Sequence[Quote]) -> list[Quote]:
    """One to four of the candidates in their order, or none if none has to do with it."""
    asked, korean = features(question), is_korean(question)
    said = [features(quote.text) for quote in candidates]
    titled = [features(quote.title) & asked for quote in candidates]
    common = Counter(
        word for own, title in zip(said, titled, strict=True) for word in (own & asked) | title
    )
    weight = {word: math.log(1 + len(said) / times) for word, times in common.items()}
    scores = [
        _own(own & asked, len(own), weight) + _TITLE * sum(map(weight.__getitem__, title))
        for own, title in zip(said, titled, strict=True)
    ]
    scores = [
        score * (1 if is_korean(quote.text) == korean else _OTHER_LANGUAGE)
        for quote, score in zip(candidates, _with_neighbours(candidates, scores), strict=True)
    ]
    enough = max(scores, default=0.0) * _NEAR_THE_BEST
    ranked = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[:_AT_MOST]
    return [candidates[at] for at in sorted(ranked) if scores[at] and scores[at] >= enough]


def _own(shared: set[str], length: int, weight: dict[str, float]) -> float:
    """Rare words count more, long sentences less."""
    return sum(weight[word] for word in shared) / math.sqrt(math.sqrt(length + 1))


def _with_neighbours(candidates: Sequence[Quote], scores: Sequence[float]) -> list[float]:
    """A sentence is worth something beside a good one of its paragraph."""
    raised = list(scores)
    for at, (one, other) in enumerate(pairwise(candidates)):
        if one.paragraph == other.paragraph:
            raised[at] = max(raised[at], scores[at + 1] * _NEIGHBOUR)
            raised[at + 1] = max(raised[at + 1], scores[at] * _NEIGHBOUR)
    return raised


def _blocks(body: str) -> Iterator[str]:
    """Paragraphs and list items with their lines joined, table rows and lines of code alone."""
    joined: list[str] = []
    code = False
    for line in [*body.splitlines(), ""]:
        text = line.strip()
        fence = text.startswith("```")
        alone = code or text.startswith("|")
        if alone or fence or not text or _HEADING.match(text) or _BULLET.match(text):
            yield " ".join(joined)
            joined = []
        code ^= fence
        if fence or _HEADING.match(text) or _RULE.fullmatch(text):
            continue
        if alone:
            yield _row(text) if text.startswith("|") else text
        elif text:
            joined.append(_BULLET.sub("", text, count=1))


def _row(line: str) -> str:
    return " · ".join(cell for each in line.strip("|").split("|") if (cell := each.strip()))
