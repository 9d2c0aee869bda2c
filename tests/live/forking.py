"""The other side of `tests.live.forked`: one for each process that runs tests."""

import asyncio
import atexit
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
_STARTED_WITHIN = 300
_forking: list[str] = []
"""The address, once it has been started."""


class Forked:
    """What the tests use of `asyncio.subprocess.Process`."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader) -> None:
        self.pid, self.stdout = pid, stdout
        self.returncode: int | None = None
        self.telling: asyncio.Task[int]

    async def wait(self) -> int:
        return await asyncio.shield(self.telling)

    async def told(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pipe: asyncio.ReadTransport,
    ) -> int:
        try:
            self.returncode = int(await reader.readline() or b"-9")
            return self.returncode
        finally:
            writer.close()
            pipe.close()


async def fork(
    argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], stderr: IO[bytes]
) -> Forked:
    """`sluice ARGV`, its standard output a pipe."""
    out, out_of_it = os.pipe()
    try:
        connection = await _connected()
        asked = json.dumps({"argv": argv, "cwd": str(cwd), "env": dict(env)}).encode() + b"\n"
        sent = socket.send_fds(connection, [asked], [out_of_it, stderr.fileno()])
        connection.sendall(asked[sent:])
    finally:
        os.close(out_of_it)
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    stdout = asyncio.StreamReader()
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stdout), os.fdopen(out, "rb", buffering=0)
    )
    process = Forked(int(await reader.readline()), stdout)
    process.telling = asyncio.create_task(process.told(reader, writer, pipe))
    return process


async def _connected() -> socket.socket:
    if not _forking:
        _forking.append(_started())
    async with asyncio.timeout(_STARTED_WITHIN):
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(_forking[0])
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
                await asyncio.sleep(0.05)
            else:
                return connection


def _started() -> str:
    folder = tempfile.TemporaryDirectory(prefix="sluice-")
    address = f"{folder.name}/socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.live.forked", address],
        cwd=ROOT,
        stdin=subprocess.PIPE,
    )

    def end() -> None:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        folder.cleanup()

    atexit.register(end)
    return address
