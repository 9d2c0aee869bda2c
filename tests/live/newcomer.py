"""A newcomer's round, in an environment and a project of its own: `make newcomer`.

The wheel, `langchain` and `langchain-openai`, as they come from the registry today; the agent of
the guide in a project with a package `domain` of its own; `sluice serve`; and its tokens in
Chromium. Takes minutes, most of which are pip's.
"""

import asyncio
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Page, async_playwright, expect

from sluice.offline_model import Gate, OfflineModel, Reply
from tests.e2e.conftest import FLAGS, program
from tests.e2e.page import COMPLETED, RUNNING, ask, asking
from tests.live.process import ROOT
from tests.live.service import Service

_GUIDE = ROOT / "docs" / "your-own-graph.md"
PACKAGES = ("langchain", "langchain-openai")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="sluice-newcomer-") as folder:
        work = Path(folder)
        _say("building the wheel, and installing it beside", *PACKAGES)
        sluice = _installed(work)
        project = work / "project"
        (project / "domain").mkdir(parents=True)
        (project / "domain" / "__init__.py").touch()
        (project / "domain" / "agent.py").write_text(_agent())
        _say("serving domain.agent:build, and asking it in Chromium")
        asyncio.run(_asked(sluice, project, work))
    _say("its stages, its tool's turn and its tokens were on the page")


def _installed(work: Path) -> Path:
    """The command `sluice` of a fresh environment."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(work)]
    _run(*build, str(ROOT))
    _run(sys.executable, "-m", "venv", str(work / "own"))
    (wheel,) = work.glob("sluice-*.whl")
    bin_ = work / "own" / "bin"
    pip = [str(bin_ / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    _run(*pip, "install", "--no-compile", str(wheel), *PACKAGES)
    _run(*pip, "check")
    return bin_ / "sluice"


def _agent() -> str:
    """The first snippet of the guide."""
    snippet = re.search(r"```python\n(# my_agent\.py\n.*?)```", _GUIDE.read_text(), re.DOTALL)
    assert snippet is not None
    return snippet[1]


async def _asked(sluice: Path, project: Path, work: Path) -> None:
    class Newcomers(Service):
        program = (str(sluice),)
        folder = project

    gate = Gate()
    async with OfflineModel(pace=0) as upstream:
        upstream.script(
            Reply.calling("weather", {"city": "Paju"}), Reply(["Rain ", gate, "in Paju."])
        )
        settings = asking(upstream) | {
            "SLUICE_PIPELINE": "domain.agent:build",
            "SLUICE_STORE": f"sqlite:///{work / 'sluice.db'}",
        }
        service = Newcomers(work / "service.log", settings)
        try:
            await service.start()
            async with async_playwright() as playwright:
                chromium = await playwright.chromium.launch(
                    executable_path=program("chromium"), args=FLAGS
                )
                page = await chromium.new_page()
                await page.goto(service.url)
                await _reads(page, gate)
                await chromium.close()
        finally:
            await service.aclose()
        given = upstream.requests[-1].body["messages"][-1]
    assert (given["role"], given["content"]) == ("tool", "Rain in Paju"), given


async def _reads(page: Page, gate: Gate) -> None:
    """Half of the answer while it is being made, then all of it."""
    page.set_default_timeout(20_000)
    await ask(page, "How is the weather in Paju?")
    await expect(page.locator(f"{RUNNING} .text")).to_have_text("Rain", timeout=20_000)
    gate.release()
    await page.locator(COMPLETED).wait_for()
    await expect(page.locator(f"{COMPLETED} .text")).to_have_text("Rain in Paju.")
    await expect(page.locator(f"{COMPLETED} .verified")).to_be_visible()
    await expect(page.locator(f"{COMPLETED} .path")).to_contain_text("A2")
    stages = await page.locator(f"{COMPLETED} .stage .name").all_text_contents()
    assert stages == ["queued", "model", "tools"], stages


def _run(*command: str) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _say(*words: str) -> None:
    print(*words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
