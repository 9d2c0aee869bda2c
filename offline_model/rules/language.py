"""Words of English and Korean, compared so that endings and particles do not matter."""

import re
import unicodedata

_PIECE = re.compile(
    r" ?[가-힣]{1,2}| ?[\u3040-\u30ff\u4e00-\u9fff]{1,2}| ?[^\W\d_가-힣]{1,12}| ?\d{1,3}|\n+| +|.",
    re.DOTALL,
)
_WORD = re.compile(r"[a-z0-9]+(?:[_-]+[a-z0-9]+)*|[가-힣\u3040-\u30ff\u4e00-\u9fff]+")
_LITTLE_WORDS = (
    "a about an and any are as at be but by can could did do does for from get give had has have "
    "how i if in into is it its just me my no not of on or please so tell than that the their "
    "them then there these they this to up us use was we were what when where which who why will "
    "with would you your"
)
_STOP = frozenset(_LITTLE_WORDS.split())
_KOREAN_STOP = re.compile(
    "어떻게|어떤|무엇|무슨|뭐가|뭔가|얼마|언제|어디|누가|왜|알려|주세요|줘요|해줘|말해|설명|"
    "하나요|인가요|있나요|되나요|할까요|하려면|되면|하면|합니다|됩니다|입니다|있습니다|그리고|그런데"
)


def normal(text: str) -> str:
    """In the form in which texts are compared: composed Hangul, no case."""
    return unicodedata.normalize("NFC", text).casefold()


def is_korean(text: str) -> bool:
    return re.search("[가-힣]", normal(text)) is not None


def stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


def features(text: str) -> set[str]:
    """Stems of English words, identifiers also whole, and pairs of Korean letters."""
    found: set[str] = set()
    for word in _WORD.findall(_KOREAN_STOP.sub(" ", normal(text))):
        if not word.isascii():
            found.update(word[i : i + 2] for i in range(max(len(word) - 1, 1)))
            continue
        parts = re.split("[_-]+", word)
        found.update(stem(part) for part in parts if len(part) > 1 and part not in _STOP)
        if len(parts) > 1:
            found.add(word)
    return found


def says(text: str, phrase: str) -> bool:
    """Whether the text has the phrase: English by whole words, Korean wherever it stands."""
    text, phrase = normal(text), normal(phrase).strip()
    if not phrase:
        return False
    if is_korean(phrase):
        return phrase.replace(" ", "") in text.replace(" ", "")
    wanted = [stem(word) for word in _words(phrase)]
    words = [stem(word) for word in _words(text)]
    size = len(wanted)
    return any(words[at : at + size] == wanted for at in range(len(words) - size + 1) if wanted)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+|[^\W\d_a-z]+", text)


def pieces(text: str) -> list[str]:
    """The text in token-like pieces; joined they are the text."""
    return _PIECE.findall(text)
