"""How many streams of each client are cut, and where.

`make test` cuts 20 at random bytes, `make cuts` 200; CUTS is a multiple of four.
SEED, printed at the head of a run and by each test that is shown, chooses the same bytes again.
"""

import os
import secrets
from random import Random

import pytest

CUTS = int(os.environ.get("CUTS") or 20)
CUT_WITHIN_S = 240 + 2 * CUTS
CUT_IN_TIME = pytest.mark.timeout(CUT_WITHIN_S + 20)


def seed() -> int:
    """One for the run, and so for all processes that share its work."""
    return int(os.environ.setdefault("SEED", str(secrets.randbelow(1_000_000))))


def byte_chooser() -> Random:
    return Random(seed())


def report(cuts: int, streams: int, by: str) -> None:
    print(  # noqa: T201
        f"{cuts} of {streams} streams cut by {by}: CUTS={CUTS} SEED={seed()}"
    )
