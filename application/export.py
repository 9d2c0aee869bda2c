"""Outcomes as text: JSON Lines or CSV, a page at a time."""

import csv
import io
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Literal

from sluice.application.outcome_rows import flat
from sluice.application.outcomes import OutcomesPort
from sluice.domain.outcome import StoredOutcome

ExportFormat = Literal["jsonl", "csv"]
_PAGE = 500


class ExportOutcomes:
    def __init__(self, outcomes: OutcomesPort) -> None:
        self._outcomes = outcomes

    async def __call__(
        self, kind: ExportFormat, rollout: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Of one rollout or of all, oldest first. The first part is there when this returns.

        Raises Unavailable, also where it is iterated.
        """
        return self._parts(kind, rollout, await self._page(rollout, 0))

    async def _parts(
        self, kind: ExportFormat, rollout: str | None, page: Sequence[StoredOutcome]
    ) -> AsyncGenerator[bytes, None]:
        header = kind == "csv"
        while page:
            yield _csv(page, header=header) if kind == "csv" else _lines(page)
            header = False
            page = await self._page(rollout, page[-1].number) if len(page) == _PAGE else ()

    async def _page(self, rollout: str | None, after: int) -> Sequence[StoredOutcome]:
        return await self._outcomes.page(after=after, limit=_PAGE, rollout=rollout)


def _lines(page: Sequence[StoredOutcome]) -> bytes:
    return "".join(f"{json.dumps(flat(row))}\n" for row in page).encode()


def _csv(page: Sequence[StoredOutcome], *, header: bool) -> bytes:
    rows = [flat(row) for row in page]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
