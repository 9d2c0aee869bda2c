"""What an upstream says of its own failures inside an answer with status 200.

Servers have many forms for it. The code follows from what is said: first a status, then the
names of kinds, then the words of a message.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from sluice.domain import errors

_STATUS = ("status", "status_code", "statusCode", "http_status", "code", "error_code", "errorCode")
_KINDS = (*_STATUS, "type", "reason", "name")
_MESSAGES = (
    "message", "msg", "detail", "error_msg", "error_message", "errorMessage", "status_msg", "title",
)  # fmt: skip
_INNER = ("error", "errors", "detail", "metadata", "message", "base_resp")
_DEEPEST = 5

_NUMBER = r"(?:^|(?:status|code|http|error)[^a-z0-9]{{0,4}}){}\b"
"""A status in a message, where it cannot be another number."""


def _words(words: str, status: str) -> re.Pattern[str]:
    return re.compile(f"{words}|{_NUMBER.format(status)}", re.IGNORECASE)


_BY_WORDS: tuple[tuple[re.Pattern[str], type[errors.UpstreamError]], ...] = (
    (
        _words("rate.?limit|too.?many.?requests|quota|resource.?exhausted|throttl", "429"),
        errors.UpstreamRateLimited,
    ),
    (
        _words(
            "api.?key|unauthori[sz]ed|unauthenticated|authenticat|permission|forbidden"
            "|access.?denied",
            "40[13]",
        ),
        errors.UpstreamAuth,
    ),
    (
        _words("overload|unavailable|(?:at|over).?capacity|bad.?gateway", r"5\d\d"),
        errors.UpstreamUnavailable,
    ),
)

_FAILED = re.compile(
    r"error|abort|fail|cancel|exception|timed?.?out|overload|unavailable|insufficient|rate.?limit"
    r"|quota|disconnect|interrupt|crash|kill|preempt|shut.?down|malformed",
    re.IGNORECASE,
)


_NO_REASON = re.compile(r"\s*|null|none|nil|undefined|(?:\w+_)?unspecified", re.IGNORECASE)
"""What stands where there is no finish reason yet: a null that was made a string, or the zero of
an enumeration.
"""


def of_status(status: int) -> errors.UpstreamError:
    said = f"status {status}"
    match status:
        case 401 | 403:
            return errors.UpstreamAuth(said)
        case 429:
            return errors.UpstreamRateLimited(said)
        case _ if status >= 500:
            return errors.UpstreamUnavailable(said)
        case _ if status >= 400:
            return errors.UpstreamError(said)
        case _:
            return errors.UpstreamBadResponse(said)


def of_error(error: object) -> errors.UpstreamError:
    """Of an error object, or of whatever stands in its place."""
    for status in map(_status, _values(error, _STATUS)):
        if status:
            return of_status(status)
    for words in (_KINDS, _MESSAGES):
        for value in _values(error, words):
            if named := _by_words(str(value)):
                return named
    return errors.UpstreamError("an error object in the stream")


def of_choice(error: object) -> errors.UpstreamError:
    """What one choice failed of. That a model behind it broke makes its server no less there."""
    failure = of_error(error)
    if isinstance(failure, errors.UpstreamUnavailable):
        return errors.UpstreamError("an error object in a choice")
    return failure


def reason_in(said: str) -> str | None:
    """The finish reason that is said, if it is one."""
    return None if _NO_REASON.fullmatch(said) else said


def of_finish_reason(reason: str) -> errors.UpstreamError | None:
    """None for those of an answer that came to its end, whatever made it end."""
    if not _FAILED.search(reason):
        return None
    return _by_words(reason) or errors.UpstreamError("a finish reason that tells a failure")


def failure_in(data: bytes) -> errors.UpstreamError | None:
    """The failure that JSON without choices is, if that is sure: a heartbeat may be JSON, too."""
    if not data.lstrip().startswith((b"{", b"[")):
        return None
    try:
        told = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    told = told[0] if isinstance(told, list) and told else told
    return of_error(told) if isinstance(told, dict) and _is_failure(told) else None


def _is_failure(told: Mapping[str, Any]) -> bool:
    match told:
        case {"choices": [_, *_]}:
            return bool(told.get("error"))
        case {"object": "error"} | {"type": "error"} | {"status": "error"} | {"success": False}:
            return True
        case {"detail": str() | list() | dict()} if len(told) == 1:
            return True
        case {"base_resp": {"status_code": int(code)}} if code:  # MiniMax's
            return True
    if any(told.get(name) for name in ("error", "errors", "error_code", "error_msg")):
        return True
    return any(_status(told.get(name)) for name in _STATUS) and any(map(told.get, _MESSAGES))


def _status(value: object) -> int:
    """0 for what is no HTTP status of a failure."""
    if isinstance(value, str) and re.fullmatch(r"[45]\d\d", value):
        return int(value)
    return value if type(value) is int and 400 <= value <= 599 else 0


def _by_words(text: str) -> errors.UpstreamError | None:
    found = (kind("named in the stream") for words, kind in _BY_WORDS if words.search(text))
    return next(found, None)


def _values(error: object, names: tuple[str, ...], depth: int = 0) -> Iterator[object]:
    """What the error says under these names, or as its only text; outer ones first."""
    if depth > _DEEPEST:
        return
    if isinstance(error, str) and names is _MESSAGES:
        yield error
    if isinstance(error, list):
        for each in error[:1]:
            yield from _values(each, names, depth + 1)
    if isinstance(error, Mapping):
        yield from (error[name] for name in names if isinstance(error.get(name), str | int))
        for name in _INNER:
            yield from _values(error.get(name), names, depth + 1)
