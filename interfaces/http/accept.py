"""Which of two media types a request prefers (RFC 9110, 12.5.1)."""

import re

STREAM = "text/event-stream"

_MEMBER = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*+(?:"|\\?\Z))+')
"""A quote that is never closed reaches to the end: else each of thousands would be looked for."""
_PARAMETER = re.compile(r';\s*([^\s;="]+)=("(?:[^"\\]|\\.)*"|[^\s;"]*)\s*')
_QUALITY = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def prefers_stream(accept: str) -> bool:
    """Whether an event stream is wanted rather than JSON, which is what we say otherwise.

    Of equal weights the stream is taken only where it is named: a wildcard asks for nothing.
    """
    weights = dict(_weights(accept))
    stream = _weight(weights, STREAM)
    json = _weight(weights, "application/json")
    return stream > json or (STREAM in weights and stream == json > 0)


def _weights(accept: str) -> list[tuple[str, float]]:
    """Each range with its weight; one that is not well-formed says nothing."""
    found = []
    for member in _MEMBER.findall(accept):
        given = {name.lower(): value for name, value in _PARAMETER.findall(member)}
        weight = given.get("q", "1")
        if _QUALITY.fullmatch(weight):
            found.append((member.partition(";")[0].strip().lower(), float(weight)))
    return found


def _weight(weights: dict[str, float], media_type: str) -> float:
    """The most specific range that matches says it; 0 where none does."""
    kind = media_type.partition("/")[0]
    ranges = (media_type, f"{kind}/*", "*/*")
    return next((weights[name] for name in ranges if name in weights), 0.0)
