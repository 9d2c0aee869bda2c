"""How a pause and its answers are kept in a database: as JSON."""

import json
from typing import Any

from sluice.application.compact_json import compact
from sluice.domain.events import Json
from sluice.domain.graph_state import Head, InputRequest, Pause


def dump_pause(pause: Pause) -> str:
    requests = [[one.input_id, one.prompt, one.kind, one.schema] for one in pause.requests]
    return compact(
        {
            "head": pause.head,
            "requests": requests,
            "said": pause.said,
            "fell_back": pause.fell_back,
        }
    )


def load_pause(stored: str | bytes) -> Pause:
    told: dict[str, Any] = json.loads(stored)
    requests = tuple(InputRequest(*request) for request in told["requests"])
    return Pause(Head(*told["head"]), requests, told["said"], told.get("fell_back", False))


def same(one: Json, other: Json) -> bool:
    """As JSON has it: `1` is not `true`, and an object's names are in no order."""
    return canonical(one) == canonical(other)


def canonical(value: Json) -> str:
    return json.dumps(value, sort_keys=True)
