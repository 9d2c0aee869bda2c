"""What is kept of shadow runs, and how it is shown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from sluice.application.compact_json import compact
from sluice.domain.rollout import Share
from sluice.domain.shadow import ShadowFigures, ShadowRun, Side, figures

_SHOWN_RUNS = 2000
"""Figures are of so many of the newest."""


class ShadowsPort(Protocol):
    """Kept where the outcomes are, for as long, by `OutcomesPort.forget`. Raises Unavailable."""

    async def begin(self, run: ShadowRun, budget: int) -> bool:
        """Keeps it if the last hour's tokens, with its own, are within the budget; of all who ask
        at once. False also if its job has been kept before."""
        ...

    async def keep(self, run: ShadowRun) -> None:
        """In place of what was kept of its job; its time stays."""
        ...

    async def spent(self) -> int:
        """The last hour's tokens."""
        ...

    async def newest(self, limit: int) -> Sequence[ShadowRun]:
        """Newest first."""
        ...


class ShowShadows:
    """`share` and `budget` are what this process's settings say."""

    def __init__(self, shadows: ShadowsPort, share: Share, budget: int) -> None:
        self._shadows, self._share, self._budget = shadows, share.percent, budget

    async def __call__(self) -> ShadowFigures | None:
        """None where there is no shadow, and has been none. Raises Unavailable."""
        rows = await self._shadows.newest(_SHOWN_RUNS)
        if not rows and not self._share:
            return None
        spent = await self._shadows.spent()
        return figures(rows, share=self._share, budget=self._budget, spent=spent)


def dump_run(run: ShadowRun) -> str:
    return compact(asdict(run))


def load_run(stored: str) -> ShadowRun:
    told: Mapping[str, Any] = json.loads(stored)
    return ShadowRun(**{**told, "real": Side(**told["real"]), "shadow": Side(**told["shadow"])})
