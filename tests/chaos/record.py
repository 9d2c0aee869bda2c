"""What happened in a run, as JSON lines: all that the judge goes by, so that it can judge again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class Recording:
    """Each line has a `kind`: run, job, said, subscription, disturbed, end."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self.counts: dict[str, int] = {}

    def write(self, kind: str, **fields: Any) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        line = json.dumps({"kind": kind, **fields}, ensure_ascii=False)
        self._file.write(f"{line}\n")

    def close(self) -> None:
        self._file.close()


def lines(path: Path) -> Iterator[Line]:
    with path.open(encoding="utf-8", newline="\n") as file:
        yield from map(json.loads, file)
