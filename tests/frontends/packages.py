"""Other people's clients as npm has them, unmodified, and Node to run them.

Their versions stand in package.json; they are installed once, into a folder that git ignores.
Without Node, npm or the registry the tests are skipped, which REQUIRE_SERVICES=1 makes a failure.
"""

import asyncio
import fcntl
import json
import subprocess
from functools import cache
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from tests.cuts import CUT_WITHIN_S
from tests.services import found, missing

HERE = Path(__file__).parent
_INSTALL = [
    "install",
    "--no-save",
    "--no-package-lock",
    "--no-audit",
    "--no-fund",
    "--prefer-offline",
]


@cache
def install() -> str | None:
    """What is missing, if anything is. Asked before any test: a registry may be slow."""
    npm = found("npm")
    if npm is None or found("node") is None:
        return "Node with npm"
    wanted = sha256((HERE / "package.json").read_bytes()).hexdigest()
    with (HERE / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = HERE / "node_modules" / ".installed"
        if stamp.exists() and stamp.read_text() == wanted:
            return None
        rmtree(HERE / "node_modules", ignore_errors=True)  # npm takes what was cut off for whole
        installed = subprocess.run(
            [str(npm), *_INSTALL], cwd=HERE, capture_output=True, text=True, check=False
        )
        if installed.returncode:
            return f"npm's packages: {installed.stderr[-500:]}"
        stamp.write_text(wanted)
    return None


@pytest.fixture(scope="session")
def packages() -> None:
    if (what := install()) is not None:
        missing(what)


async def node(script: str, scenario: str, **given: Any) -> Any:
    """What a scenario of a script returns; both are handed over as JSON."""
    process = await asyncio.create_subprocess_exec(
        *("node", HERE / script, scenario, json.dumps(given)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(CUT_WITHIN_S):
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()[-4000:]
    return json.loads(out.decode().rstrip().rpartition("\n")[2])
