"""Fixtures for users' tests. pytest finds them by itself wherever Sluice is installed."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from sluice.testing import Reply, ScriptedLLM


@pytest.fixture
def scripted_llm() -> "Iterator[Callable[..., ScriptedLLM]]":
    """`scripted_llm("Hello", …)` is a ScriptedLLM; a reply left over at the end is an error."""
    from sluice.testing import ScriptedLLM

    made: list[ScriptedLLM] = []

    def make(*replies: "Reply") -> "ScriptedLLM":
        made.append(ScriptedLLM(*replies))
        return made[-1]

    yield make
    left = [reply for llm in made for reply in llm.replies]
    if left:
        pytest.fail(f"nobody asked for these replies: {left}")
