"""JSON as short as it can be."""

import json


def compact(data: object) -> str:
    """Without spaces, in raw Unicode, on one line. Raises ValueError for NaN and infinities."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
