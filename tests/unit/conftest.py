"""Fixtures of the unit tests."""

from collections.abc import AsyncIterator

import pytest

from tests.queue_bench import Bench, Benches


@pytest.fixture
async def bench_of() -> AsyncIterator[Benches]:
    """Makes a bench; at the end everything it took has to be given back."""
    made: list[Bench] = []

    def make(*given: object, **options: object) -> Bench:
        made.append(Bench(*given, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for bench in made:
        await bench.emptied()
