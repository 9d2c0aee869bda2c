"""What a log may say of an error."""

from errno import errorcode
from pathlib import PurePath
from sysconfig import get_path
from traceback import extract_tb

from sluice.domain.errors import ChatError, Unavailable

_LIBRARIES = ("<", get_path("stdlib"))


def format_traceback(error: BaseException) -> str:
    """Where an error came from: its last steps, and the last that is in no library.

    Without its text, which may hold a prompt, an answer or a key; but our own say why, and the
    operating system's by its number: `OSError: EMFILE`.
    """
    names = []
    link: BaseException | None = error
    seen = set()  # a library may make a ring of its causes
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        names.append(f"{type(link).__name__}{_why(link)} ({_where(link)})")
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return " from ".join(names)


def _why(error: BaseException) -> str:
    if isinstance(error, ChatError | Unavailable) and error.args:
        return f": {error}"
    if type(error) is OSError and (
        name := errorcode.get(error.errno or 0)
    ):  # else its type says it
        return f": {name}"
    return ""


def _where(error: BaseException) -> str:
    steps = extract_tb(error.__traceback__)
    near = steps[-3:]
    if own := [step for step in steps[:-3] if not _in_library(step.filename)]:
        near = [own[-1], *near] if all(_in_library(step.filename) for step in near) else near
    return " > ".join(f"{PurePath(step.filename).name}:{step.lineno}" for step in near)


def _in_library(file: str) -> bool:
    return "site-packages" in file or file.startswith(_LIBRARIES)
