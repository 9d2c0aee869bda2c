"""A job's flag as the stores keep it: JSON that an older and a newer version can read."""

import json
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any

from sluice.application.compact_json import compact
from sluice.domain.rollout import Flag

_NAMES = [field.name for field in fields(Flag)]


@lru_cache(maxsize=16)
def dump_flag(flag: Flag | None) -> str | None:
    return None if flag is None else compact({name: getattr(flag, name) for name in _NAMES})


def load_flag(stored: str | Mapping[str, Any] | None) -> Flag | None:
    """Without what a newer version may have added; None of what an older one left out."""
    told = json.loads(stored) if isinstance(stored, str) else stored
    return None if told is None else Flag(**{name: told[name] for name in _NAMES if name in told})
