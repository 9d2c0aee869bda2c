"""`sluice compare` as a process, before an upstream of its own."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sluice.offline_model import OfflineModel
from tests.live.process import environment

WITHIN = 100
pytestmark = pytest.mark.timeout(WITHIN + 10)


@asynccontextmanager
async def running(
    folder: Path, model: OfflineModel, *arguments: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Within the bound; it is left to nobody."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sluice.interfaces.cli", "compare", *arguments),
        env=environment(OPENAI_BASE_URL=model.base_url, OPENAI_API_KEY="k", OPENAI_MODEL="m"),
        cwd=folder,
        stdout=PIPE,
        stderr=PIPE,
        # Whoever runs the tests in the background has had the signal ignored, which is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        async with asyncio.timeout(WITHIN):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_both_paths_are_compared_and_ctrl_c_gives_what_there_is(tmp_path: Path) -> None:
    questions = tmp_path / "questions.txt"
    questions.write_text("Why?\n\nHow?\n")
    asked = "--rounds", "400", "--questions", str(questions), "--out", "both.html"
    async with (
        OfflineModel(pace=0.001) as model,
        running(tmp_path, model, *asked) as process,
    ):
        await model.until_called(24, WITHIN)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert "of 1600 answers" in err.decode()
    assert "wrote both.html" in out.decode()
    page = (tmp_path / "both.html").read_text()
    assert page.count("<svg") == 3
    told = (tmp_path / "both.md").read_text()
    assert "in turns on both paths" in told


async def test_a_wrong_setting_or_file_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    async with (
        OfflineModel() as model,
        running(tmp_path, model, "--questions", "empty.txt") as process,
    ):
        _, err = await process.communicate()
    assert process.returncode == 1
    assert err.decode() == "sluice: --questions: no question in empty.txt\n"
