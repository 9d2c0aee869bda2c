"""A process of ours, which can be told, frozen, killed and started again."""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import httpx2

from tests.live.forking import Forked, fork

ROOT = Path(__file__).parents[2]
OURS = ("SLUICE_", "OPENAI_", "ENABLE_TOKEN_STREAMING")
AS_USERS_DO = (sys.executable, "-m", "sluice.interfaces.cli")
STARTED_WITHIN, GONE_WITHIN = 300, 40
"""Seconds. The first is beyond any test's own time: a loaded machine is no fault of a long run."""


def environment(**settings: str) -> dict[str, str]:
    """This one's, with no other settings than these."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return env | {"SLUICE_PORT": "0", "SLUICE_LOG_LEVEL": "DEBUG"} | settings


ESTABLISHED = "01"


class Connection(NamedTuple):
    """By its ports; `state` is the kernel's number for it."""

    here: int
    there: int
    state: str


class Process:
    """`sluice COMMAND`. `log` is all it wrote to standard error, of every life it had."""

    program: ClassVar[Sequence[str] | None] = None
    """What takes the command, if it shall be started as a user starts it and not be forked."""
    folder: Path = ROOT
    """Where it is started."""
    command: ClassVar[str]
    banner: ClassVar[re.Pattern[bytes]]
    """How it says that it is there."""

    def __init__(self, log: Path, settings: Mapping[str, str]) -> None:
        self.log, self._settings = log, dict(settings)
        self.port = 0
        """Where it shows its metrics, and a service all the rest."""
        self.client = httpx2.AsyncClient(trust_env=False, timeout=10, verify=False)
        self._process: asyncio.subprocess.Process | Forked | None = None
        self._born = 0

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._born = log.tell()
            given: Any = {"cwd": self.folder, "env": environment(**self._settings), "stderr": log}
            if self.program is None:
                self._process = await fork([self.command], **given)
            else:
                command = (*self.program, self.command)
                self._process = await asyncio.create_subprocess_exec(*command, **given, stdout=PIPE)
        assert self._process.stdout is not None
        async with asyncio.timeout(STARTED_WITHIN):
            while not (said := self.banner.search(line := await self._process.stdout.readline())):
                assert line, self.log.read_text()
        self.started(said)

    async def says(self, words: str, within: float = 10) -> None:
        """Until it has written that to standard output."""
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(within):
            while words.encode() not in (line := await self._process.stdout.readline()):
                assert line, self.log.read_text()

    def started(self, said: re.Match[bytes]) -> None:
        """The banner has come."""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        assert self._process is not None
        return self._process.returncode

    @property
    def lives(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def life(self) -> str:
        """The log of the present life, or of the last one."""
        with self.log.open("rb") as log:
            log.seek(self._born)
            return log.read().decode()

    def tell(self, what: signal.Signals) -> None:
        os.kill(self.pid, what)

    async def gone(self, within: float = GONE_WITHIN) -> int:
        """Its exit status."""
        assert self._process is not None
        async with asyncio.timeout(within):
            return await self._process.wait()

    async def kill(self) -> None:
        self.tell(signal.SIGKILL)
        await self.gone()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def metrics(self) -> dict[str, float]:
        text = (await self.client.get(f"{self.url}/metrics")).text
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    async def aclose(self) -> None:
        await self.client.aclose()
        if self.lives:
            await self.kill()

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))  # noqa: PTH208

    def sockets(self) -> list[Connection]:
        """Of IPv4."""
        folder, held = Path(f"/proc/{self.pid}"), set[str]()
        for descriptor in (folder / "fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                held.add(str(descriptor.readlink()))
        lines = (folder / "net" / "tcp").read_text().splitlines()[1:]
        rows = [line.split() for line in lines]
        return [
            Connection(_port(here), _port(there), state)
            for _, here, there, state, *rest in rows
            if f"socket:[{rest[5]}]" in held
        ]

    def resident(self) -> int:
        """Bytes of memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def _port(address: str) -> int:
    return int(address.partition(":")[2], 16)
