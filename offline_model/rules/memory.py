"""What can be answered from the conversation itself: names told, things said before."""

import re
from collections.abc import Sequence

from .language import is_korean, normal

_NAME_TOLD = (
    re.compile(r"\b(?i:my name(?: is|'s|’s)) +([A-Z][\w'’-]*(?: [A-Z][\w'’-]*)*|\w[\w'’-]*)"),
    re.compile(r"\b(?i:call me|I am called) +([\w'’-]+)"),
    re.compile(r"(?:내|제) *이름은 *([^\s,.!?~]{1,20})"),
    re.compile(r"(?:저는|나는|난) *([^\s,.!?~]{1,20}?)(?:이?라고 *(?:해|합니다|불러))"),
)
_NAME_ENDING = re.compile(
    r"(?:이라고|라고|입니다|이에요|이예요|예요|에요|이야|이고|이다|임|야|요)$"
)
_NAME_ASKED = re.compile(
    r"what(?:'s|’s| is| was) my name|(?:know|remember) my name|who am i\b"
    r"|(?:내|제) *이름.*(?:뭐|무엇|뭔|알아|아세요|알고|기억|누구|말해|\?)|(?:내|제)가 *누구"
)
_SAID_ASKED = re.compile(
    r"what (?:did|have) i (?:just |first )?(?:say|said|ask|tell|told|write|type)"
    r"|what (?:was|is|were) my (?:last|first|previous|earlier) (?:question|message|words)"
    r"|(?:내|제)가 .*(?:뭐|뭘|무엇|무슨|뭐라고).*(?:말|물|질문|했)"
    r"|(?:이전|방금|아까|처음|지난).*(?:질문|말|물어).*(?:뭐|뭘|무엇|뭔|였|었|알려|\?)"
)
_SHORT = 200
"""Characters of a question about the conversation, at most; the patterns suit no long text."""
_FIRST_ASKED = re.compile(r"\bfirst\b|처음|첫")


def recalled(question: str, earlier: Sequence[str]) -> str | None:
    """An answer from what the user said earlier, if the question asks for that."""
    if len(question) > _SHORT:
        return None
    asked, korean = normal(question), is_korean(question)
    told = name_told(question)
    if told is None and _NAME_ASKED.search(asked):
        return _name(earlier, korean=korean)
    if _SAID_ASKED.search(asked):
        return _said(earlier, first=_FIRST_ASKED.search(asked) is not None, korean=korean)
    if told is not None and "?" not in question:
        return f"반가워요, {told} 님. 기억할게요." if korean else f"Nice to meet you, {told}."
    return None


def name_told(text: str) -> str | None:
    for pattern in _NAME_TOLD:
        if match := pattern.search(text):
            name = match[1]
            told = _NAME_ENDING.sub("", name) if is_korean(name) else name
            if told and not re.match("뭐|무엇|뭔|누구|what$", told):
                return told
    return None


def _name(earlier: Sequence[str], *, korean: bool) -> str:
    name = next((told for text in reversed(earlier) if (told := name_told(text))), None)
    if name is None:
        return "아직 이름을 말해 주지 않으셨어요." if korean else "You have not told me your name."
    return f"이름은 {name}입니다." if korean else f"Your name is {name}."


def _said(earlier: Sequence[str], *, first: bool, korean: bool) -> str:
    if not earlier:
        return "이 대화의 첫 메시지예요." if korean else "This is the first message of this chat."
    text = earlier[0] if first else earlier[-1]
    if korean:
        return f"{'처음에' if first else '바로 전에'} 이렇게 말씀하셨어요: “{text}”"
    return f"{'At first' if first else 'Just before'} you said: “{text}”"
