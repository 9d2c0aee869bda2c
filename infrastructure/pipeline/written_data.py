"""What a node writes for the user beside its text, checked where it is written."""

import json

from sluice.application.compact_json import compact
from sluice.domain.errors import PipelineError
from sluice.domain.events import Data

MAX_DATA_BYTES = 64 * 1024
"""Of JSON in UTF-8."""
NAMELESS = "data"
"""What data is called that was given no name."""


def written_data(name: object, data: object, node: str) -> Data:
    """As it was when it was written. Raises PipelineError for what is no JSON, or too large."""
    name = name if isinstance(name, str) and name else NAMELESS
    try:
        name.encode()
        text = compact(data).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PipelineError(f"node {node} has written data that is no JSON") from error
    if len(text) > MAX_DATA_BYTES:
        raise PipelineError(f"node {node} has written data of more than 64 KiB")
    return Data(name, json.loads(text), node)
