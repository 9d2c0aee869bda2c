"""Outcomes as text, a page at a time: each once, oldest first."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from sluice.application import export
from sluice.application.export import ExportFormat, ExportOutcomes
from sluice.application.outcome_rows import flat
from sluice.domain.errors import Unavailable
from sluice.domain.outcome import StoredOutcome
from tests.doubles import a_job, an_outcome

AT = datetime(2026, 11, 1, tzinfo=UTC)


class Rows:
    """The part of an OutcomesPort that is asked here; its rows have every third number."""

    def __init__(self, count: int, *, away_after: int | None = None) -> None:
        self.rows = [
            StoredOutcome(3 * n, AT, "hash", False, an_outcome(a_job(id=f"job-{n}")), None)
            for n in range(1, count + 1)
        ]
        self.asked: list[tuple[int, int, str | None]] = []
        self.away_after = away_after

    async def page(
        self, *, after: int, limit: int, rollout: str | None = None
    ) -> Sequence[StoredOutcome]:
        if after == self.away_after:
            raise Unavailable("away")
        self.asked.append((after, limit, rollout))
        return [row for row in self.rows if row.number > after][:limit]


@pytest.fixture(autouse=True)
def pages_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_PAGE", 3)


async def parts(rows: Rows, kind: ExportFormat, *rollout: str) -> list[bytes]:
    outcomes: Any = rows
    return [part async for part in await ExportOutcomes(outcomes)(kind, *rollout)]


async def test_lines_come_a_page_at_a_time_oldest_first_and_each_once() -> None:
    rows = Rows(7)
    told = await parts(rows, "jsonl", "r")
    assert rows.asked == [(0, 3, "r"), (9, 3, "r"), (18, 3, "r")]
    assert [part.count(b"\n") for part in told] == [3, 3, 1]
    assert b"".join(told).decode() == "".join(f"{json.dumps(flat(r))}\n" for r in rows.rows)


async def test_a_table_has_one_header_and_the_line_ends_of_its_standard() -> None:
    rows = Rows(4)
    told = await parts(rows, "csv")
    assert rows.asked == [(0, 3, None), (9, 3, None)]
    header, *lines, end = b"".join(told).decode().split("\r\n")
    assert header == ",".join(flat(rows.rows[0]))
    assert [line.split(",")[0] for line in lines] == ["job-1", "job-2", "job-3", "job-4"]
    assert end == ""
    assert "\n" not in "".join(lines)
    assert len(told) == 2


async def test_behind_a_last_page_that_is_full_there_is_no_empty_part() -> None:
    rows = Rows(3)
    assert len(await parts(rows, "jsonl")) == 1
    assert [after for after, *_ in rows.asked] == [0, 9]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
async def test_of_nothing_there_is_no_part(kind: ExportFormat) -> None:
    assert await parts(Rows(0), kind) == []


async def test_a_store_that_is_away_is_told_before_the_first_part_and_later_while_reading() -> None:
    away: Any = Rows(1, away_after=0)
    with pytest.raises(Unavailable):
        await ExportOutcomes(away)("jsonl")
    later: Any = Rows(4, away_after=9)
    told = await ExportOutcomes(later)("jsonl")
    assert (await anext(told)).count(b"\n") == 3
    with pytest.raises(Unavailable):
        await anext(told)
