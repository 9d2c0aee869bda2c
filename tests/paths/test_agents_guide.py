"""Every snippet of docs/agents.md runs, asks, and goes on as the guide says."""

import re
from pathlib import Path as File
from typing import Any

import pytest

from sluice.domain.events import Json
from sluice.infrastructure.pipeline.savers.sqlite import SqliteSaver
from sluice.offline_model.replies import Reply
from tests.paths.conftest import Path
from tests.paths.pauses.jobs import Job

GUIDE = (File(__file__).parents[2] / "docs" / "agents.md").read_text()
SNIPPETS = {
    re.match("# (.*)", code)[1]: code  # type: ignore[index]
    for code in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
}
APPROVED: Json = {"decisions": [{"type": "approve"}]}
LETTER = {"to": "Ann", "text": "Hello"}
RUNS: dict[str, tuple[list[Reply], str, str, Json, str]] = {
    "assistant.py": (
        [Reply.calling("send", LETTER), Reply(pieces=["It is ", "on its way."])],
        *("form", "Send this to Ann: Hello", True, "It is on its way."),
    ),
    "approvals.py": (
        [Reply.calling("delete", {"name": "a.txt"}), Reply(pieces=["Done."])],
        *("approval", "delete", APPROVED, "Done."),
    ),
    "effects.py": ([], "text", "Order it for 9 euros?", True, "Ordered."),
}
"""What the model says; what is asked, and how; the answer to that, and the job's own."""


@pytest.mark.parametrize("name", sorted({*SNIPPETS, *RUNS}))
@pytest.mark.usefixtures("instrumented")
async def test_a_snippet_of_the_guide_asks_and_goes_on(
    name: str, path: Path, saver: SqliteSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", path.model.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    replies, kind, prompt, value, answer = RUNS[name]
    path.model.script(*replies)
    module: dict[str, Any] = {"__name__": name}
    exec(SNIPPETS[name], module)
    job = Job(path, module["build"], saver)
    pause = await job.pauses()
    (asked,) = pause.requests
    assert asked.kind == kind
    assert prompt in str(asked.prompt)
    assert await job.answers(pause, value) == answer
    if name == "effects.py":
        log = "wrote to the log"
        assert module["DONE"] == ["asked the warehouse", log, log, "ordered"]
