"""The service in a process of its own, which can be told, asked, frozen and killed."""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.live.stream import Stream

ROOT = Path(__file__).parents[2]
OURS = ("SLUICE_", "OPENAI_", "ENABLE_TOKEN_STREAMING")
STARTED_WITHIN, GONE_WITHIN = 30, 40
_BANNER = re.compile(rb"Sluice serves at (http://[^\s]+):(\d+)")


def environment(**settings: str) -> dict[str, str]:
    """This one's, with no other settings than these."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return env | {"SLUICE_PORT": "0", "SLUICE_LOG_LEVEL": "DEBUG"} | settings


class Service:
    """`log` is all it wrote to standard error, of every life it had. Its port stays the same."""

    def __init__(self, log: Path, settings: Mapping[str, str]) -> None:
        self.log = log
        self._settings = dict(settings)
        self.port = 0
        self._process: Process | None = None
        self.client = httpx2.AsyncClient(trust_env=False, timeout=10, verify=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        assert self._process is not None
        return self._process.returncode

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "interfaces.cli", "serve"),
                cwd=ROOT,
                env=environment(**self._settings),
                stdout=PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(STARTED_WITHIN):
            while not (banner := _BANNER.search(line := await self._process.stdout.readline())):
                assert line, self.log.read_text()
        self.port = int(banner[2])
        self._settings["SLUICE_PORT"] = str(self.port)

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

    async def aclose(self) -> None:
        await self.client.aclose()
        if self._process is not None and self._process.returncode is None:
            await self.kill()

    async def ask(self, message: str, chat: str | None = None, **headers: str) -> dict[str, Any]:
        body = {"message": message} | ({"session_id": chat} if chat else {})
        answer = await self.client.post(f"{self.url}/api/v1/chat", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        accepted: dict[str, Any] = answer.json()
        return accepted

    async def job(self, job: str) -> dict[str, Any]:
        answer = await self.client.get(f"{self.url}/api/v1/jobs/{job}")
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def cancel(self, job: str) -> int:
        return (await self.client.delete(f"{self.url}/api/v1/jobs/{job}")).status_code

    def stream(self, job: str, after: str | None = None, **options: Any) -> Stream:
        """To be entered."""
        return Stream(self.port, job, after, **options)

    async def metrics(self) -> dict[str, float]:
        text = (await self.client.get(f"{self.url}/metrics")).text
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    async def idle(self, within: float = 5) -> None:
        """Until no job and no stream is left."""
        names = ["sluice_jobs_running", "sluice_jobs_queued", "sluice_open_streams"]
        async with asyncio.timeout(within):
            while any(map((await self.metrics()).__getitem__, names)):
                await asyncio.sleep(0.02)

    @property
    def connections(self) -> int:
        """Those of `client`, which wait for another request."""
        pool: Any = self.client._transport
        return len(pool._pool.connections)

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))  # noqa: PTH208

    def resident(self) -> int:
        """Bytes of memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def serving(folder: Path, **settings: str) -> AsyncIterator[Service]:
    """Killed at the end, if it still lives then."""
    service = Service(folder / "service.log", settings)
    try:
        await service.start()
        yield service
    finally:
        await service.aclose()
