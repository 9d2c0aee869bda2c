"""The service that is asked: one in a process of its own, which nobody else uses."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

_SERVES_AT = "Sluice serves at "
_STOP_SECONDS = 10
_OWN = {
    "ENABLE_TOKEN_STREAMING": "50%",
    "SLUICE_ALLOW_PATH_HEADER": "true",
    "SLUICE_AUTH": "none",
    "SLUICE_HOST": "127.0.0.1",
    "SLUICE_PORT": "0",
    "SLUICE_STATE": "chat",
    "SLUICE_FALLBACK": "false",
    "SLUICE_LOG_LEVEL": "ERROR",
    "SLUICE_SHUTDOWN_GRACE": "1",
}
"""Upstream, pipeline and deadlines are the environment's."""
_NOT_OURS = ("SLUICE_DATABASE", "SLUICE_FLAG_PROVIDER")


@contextmanager
def service() -> Iterator[str]:
    """Its address. Raises CalledProcessError if it does not start: it has said why itself."""
    with TemporaryDirectory(prefix="sluice-compare-") as folder, _started(folder) as process:
        yield _address(process)


@contextmanager
def _started(folder: str) -> Iterator["subprocess.Popen[str]"]:
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
    store = {"SLUICE_STORE": f"sqlite:///{folder}/sluice.db"}  # a graph may want to keep something
    process = subprocess.Popen(
        [sys.executable, "-m", "sluice.interfaces.cli", "serve"],
        env=environment | _OWN | store,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for who compares, who then stops it
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def _address(process: "subprocess.Popen[str]") -> str:
    for line in process.stdout or ():
        if line.startswith(_SERVES_AT):
            return line.removeprefix(_SERVES_AT).strip()
    raise subprocess.CalledProcessError(process.wait(), "sluice serve")
