"""Answers in words, in the language of the question."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .language import features, is_korean, normal
from .memory import recalled
from .passages import Quote, best, quotes

_GREETING = re.compile(
    r"\b(?:hi|hello|hey|good (?:morning|afternoon|evening))\b"
    r"|안녕(?:하세요|하십니까|히)?|반가워요?|반갑습니다"
)
_THANKS = re.compile(
    r"\b(?:thanks|thank you)\b|감사(?:합니다|해요|드려요|드립니다)|고마워요?|고맙습니다"
)
_FILLING = re.compile(r"\b(?:very|much|lot|again|there|sluice)\b|정말|너무|많이|대단히")


def text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    texts = (part.get("text") for part in content if isinstance(part, Mapping))
    return "\n".join(text for text in texts if isinstance(text, str))


def said(messages: Sequence[Mapping[str, Any]], message: str) -> str:
    """The answer in words to the message, which is the last of the user's."""
    korean = is_korean(message)
    if messages[-1]["role"] == "tool":
        result = text_of(messages[-1])
        return f"도구의 결과입니다: {result}" if korean else f"The tool says: {result}"
    earlier = [text_of(each) for each in messages if each["role"] == "user"][:-1]
    if known := recalled(message, earlier) or _courtesy(message, korean=korean):
        return known
    candidates = [quote for each in messages for quote in quotes(text_of(each))]
    if not candidates:
        return _unaided(korean=korean)
    return _quoted(message, candidates, korean=korean)


def thought_of(message: str, *, answered: bool) -> str:
    """What is thought before an answer; `answered`: a tool has just given its result."""
    if is_korean(message):
        now = "도구의 결과를 전합니다." if answered else "알맞은 도구가 있는지 봅니다."
        return f"질문은 “{message}”입니다. {now}"
    now = "A tool has answered: I pass that on." if answered else "I look for a tool that fits."
    return f"The question is “{message}”. {now}"


def _courtesy(message: str, *, korean: bool) -> str | None:
    """The answer to a message that greets or thanks and says nothing else."""
    rest = normal(message)
    for pattern in (_GREETING, _THANKS, _FILLING):
        rest = pattern.sub(" ", rest)
    if features(rest):
        return None
    if _THANKS.search(normal(message)):
        return "천만에요. 더 궁금한 것이 있으면 물어보세요." if korean else "You are welcome."
    if not _GREETING.search(normal(message)):
        return None
    if korean:
        return "안녕하세요! 저는 Sluice에 들어 있는 오프라인 모델입니다. 문서에 대해 물어보세요."
    return "Hello! I am the offline model that comes with Sluice. Ask me about its documents."


def _unaided(*, korean: bool) -> str:
    if korean:
        return (
            "저는 Sluice에 들어 있는 오프라인 모델이라 주어진 문서에서 찾아 인용하는 일만 합니다. "
            "이 질문에 대해서는 주어진 문서가 없습니다. 진짜 모델을 쓰려면 OPENAI_API_KEY나 "
            "OPENAI_BASE_URL을 설정하세요."
        )
    return (
        "I am the offline model that comes with Sluice: I can only quote from documents I am "
        "given, and I was given none for this. Set OPENAI_API_KEY or OPENAI_BASE_URL to use a "
        "real model."
    )


def _quoted(message: str, candidates: Sequence[Quote], *, korean: bool) -> str:
    chosen = best(message, candidates)
    if chosen:
        lead = "문서에서 찾은 내용입니다." if korean else "This is what the documents say."
    else:
        chosen = list(candidates[:1])
        lead = (
            "문서에 꼭 맞는 문장은 없습니다. 가장 가까운 것은 이렇습니다."
            if korean
            else "No sentence of the documents fits this well. The nearest passage begins:"
        )
    sources = dict.fromkeys((quote.source, quote.title) for quote in chosen)
    quoted = (
        "\n".join(f"> {quote.text}" for quote in chosen if (quote.source, quote.title) == source)
        + f"\n— {source[0]}"
        + (f", “{source[1]}”" if source[1] else "")
        for source in sources
    )
    return "\n\n".join([lead, *quoted])
