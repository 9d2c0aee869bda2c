"""A request's headers, each found in one step: Starlette goes through all of them each time."""

from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope


class FoundHeaders(Headers):
    def __init__(self, scope: Scope) -> None:
        super().__init__(scope=scope)
        self._first = dict(reversed(self._list))

    def get(self, key: str, default: Any = None) -> Any:
        found = self._first.get(key.lower().encode("latin-1"))
        return default if found is None else found.decode("latin-1")
