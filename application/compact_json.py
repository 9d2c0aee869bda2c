"""JSON as short as it can be."""

from json import JSONEncoder

_encoder = JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
"""`json.dumps` would make one for each call."""


def compact(data: object) -> str:
    """Without spaces, in raw Unicode, on one line. Raises ValueError for NaN and infinities."""
    return _encoder.encode(data)
