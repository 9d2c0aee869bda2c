"""Every snippet of docs/your-own-graph.md runs, and is heard as the guide says."""

import re
from pathlib import Path as File
from typing import Any

import pytest

from sluice.offline_model.replies import Reply
from tests.paths.conftest import Path

GUIDE = (File(__file__).parents[2] / "docs" / "your-own-graph.md").read_text()
SNIPPETS = {
    re.match("# (.*)", code)[1]: code  # type: ignore[index]
    for code in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
}
PIECES = ["It ", "rains."]
RUNS: dict[str, tuple[list[Reply], list[str]]] = {
    "my_agent.py": (
        [Reply.calling("weather", {"city": "Paju"}), Reply(pieces=PIECES)],
        PIECES,
    ),
    "minimal.py": ([Reply(pieces=PIECES)], PIECES),
    "sources.py": ([Reply(pieces=PIECES)], PIECES),
    "two_calls.py": ([Reply(pieces=["a plan"]), Reply(pieces=PIECES)], PIECES),
    "shop.py": ([Reply.calling("search", {"query": "boots"})], ["Looking for boots"]),
}
"""What the model says, and what is streamed of it."""


@pytest.mark.parametrize("name", sorted({*SNIPPETS, *RUNS}))
@pytest.mark.usefixtures("instrumented")
async def test_a_snippet_of_the_guide_runs_as_it_says(
    name: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", path.model.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    replies, streamed = RUNS[name]
    path.model.script(*replies)
    module: dict[str, Any] = {"__name__": name}
    exec(SNIPPETS[name], module)
    told = await path.tell(module["build"])
    assert told.done.answer == "".join(streamed)
    assert [token.content for token in told.tokens] == streamed * path.speaks
    assert told.done.usage is not None


def test_the_smallest_graph_of_the_guide_is_the_example() -> None:
    example = (File(__file__).parents[2] / "examples" / "minimal.py").read_text()
    body = SNIPPETS["minimal.py"].partition("    async def answer")[2]
    assert re.sub(r"\) -> State:", "):", example).partition("    async def answer")[2] == body
