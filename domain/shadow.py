"""Shadow runs: some jobs run once more, on the other path, told to nobody, to be compared."""

import hmac
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sluice.domain.chat import ExecutionPath, JobId
from sluice.domain.guard.figures import Part, Quantile, median, part
from sluice.domain.rollout import Share

Skipped = Literal["asked", "budget", "busy", "cancelled", "fell_back"]
"""Why a job that was drawn has no shadow, or none that counts.

`asked`: a human was asked, by the job or by its shadow. `budget`: the hour's tokens are used up.
`busy`: as many run as may at once. `cancelled`: the job was, or it was over before its graph began.
`fell_back`: it ran on both paths.
"""
_KEY = b"sluice shadow"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs, in seconds from its beginning.

    `error` is a code, None if it answered; `first_token` is when the first was told, None on A1.
    `length` is in code points. No text.
    """

    path: ExecutionPath
    error: str | None = None
    first_token: float | None = None
    answer: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    length: int | None = None


@dataclass(frozen=True, slots=True)
class ShadowRun:
    """A job that was drawn. `tokens` count against the budget, from the beginning on: what the
    upstream has said, or what is to be expected.

    `same_text` and `same_stages` are None unless both sides answered.
    """

    job_id: JobId
    state: Literal["running", "ended", "cancelled", "skipped"]
    real: Side
    shadow: Side
    skipped: Skipped | None = None
    tokens: int = 0
    same_text: bool | None = None
    same_stages: bool | None = None


@dataclass(frozen=True, slots=True)
class PathFigures:
    """Of a path, over the pairs: how many failed on it, the medians where both sides answered, and
    the tokens of the pairs whose tokens are known on both."""

    failed: Part
    first_token: Quantile | None
    answer: Quantile | None
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class ShadowFigures:
    """`share` and `budget` are the settings; `spent` are the last hour's tokens, of all processes.

    `runs` have come to their end; the `cancelled` ended with their process, or their chat was
    deleted; the `unfinished` run now, or their process was killed.
    """

    share: float
    budget: int
    spent: int
    runs: int
    unfinished: int
    cancelled: int
    skipped: Mapping[Skipped, int]
    same_text: Part
    same_stages: Part
    paths: Mapping[ExecutionPath, PathFigures]


def is_drawn(job_id: JobId, share: Share) -> bool:
    """Of so many percent of the jobs, whichever path they took: it is not the rollout's draw."""
    drawn = int.from_bytes(hmac.digest(_KEY, job_id.encode(), "sha256")[:8])
    return drawn < share.percent / 100 * 2**64


def figures(rows: Sequence[ShadowRun], *, share: float, budget: int, spent: int) -> ShadowFigures:
    ended = [row for row in rows if row.state == "ended"]
    both = [row for row in ended if row.same_text is not None]
    states = Counter(row.state for row in rows)
    paths: tuple[ExecutionPath, ...] = ("A1", "A2")
    return ShadowFigures(
        share=share,
        budget=budget,
        spent=spent,
        runs=len(ended),
        unfinished=states["running"],
        cancelled=states["cancelled"],
        skipped=Counter(row.skipped for row in rows if row.skipped is not None),
        same_text=part(sum(row.same_text is True for row in both), len(both)),
        same_stages=part(sum(row.same_stages is True for row in both), len(both)),
        paths={path: _path(path, ended, both) for path in paths},
    )


def _path(
    path: ExecutionPath, ended: Sequence[ShadowRun], both: Sequence[ShadowRun]
) -> PathFigures:
    sides = [_side(row, path) for row in ended]
    answered = [_side(row, path) for row in both]
    counted = [_side(row, path) for row in both if _is_counted(row.real, row.shadow)]
    return PathFigures(
        failed=part(sum(one.error is not None for one in sides), len(sides)),
        first_token=median([one.first_token for one in answered if one.first_token is not None]),
        answer=median([one.answer for one in answered if one.answer is not None]),
        input_tokens=sum(one.input_tokens or 0 for one in counted),
        output_tokens=sum(one.output_tokens or 0 for one in counted),
    )


def _side(row: ShadowRun, path: ExecutionPath) -> Side:
    return row.real if row.real.path == path else row.shadow


def _is_counted(*sides: Side) -> bool:
    return all(one.output_tokens is not None for one in sides)
