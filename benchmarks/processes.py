"""Processes under measurement: started, pinned, and read from outside by way of Linux."""

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError
from urllib.request import Request, urlopen

ROOT = Path(__file__).parent.parent
START_S = 30.0


_SPIN = """
import os, pathlib
group = pathlib.Path("/proc/self/autogroup")
if group.exists():
    group.write_text("19")
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(100_000):
        os.sched_yield()
"""
"""A kernel that groups by terminal would give it half of the core otherwise; and Linux, since it
schedules by deadlines, what is left of a tick of 4 ms, to which whoever is woken would then come
late: hence it yields. It ends with us.
"""


if hasattr(os, "sched_param"):
    _BEFORE, _AS_OTHERS = (os.SCHED_RR, os.sched_param(1)), (os.SCHED_OTHER, os.sched_param(0))


class StartError(Exception):
    """A process ended, or said nothing, before it was ready; the text is its last line."""


class Process:
    """A child and all its descendants, on one CPU if the system allows it."""

    def __init__(
        self,
        argv: Sequence[str],
        cpu: int | None,
        env: Mapping[str, str] | None = None,
        talks: bool = True,
    ) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        self._popen = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE if talks else subprocess.DEVNULL,
            stderr=self._errors,
            env=clean_environment(env or {}),
            cwd=ROOT,
            start_new_session=True,
        )
        self.port = 0
        if cpu is not None:
            os.sched_setaffinity(self._popen.pid, {cpu})

    def read_port(self) -> Self:
        """Waits for a first line `{"port": …}`."""
        assert self._popen.stdout
        line = self._popen.stdout.readline()
        if not line:
            raise self._failed()
        self.port = json.loads(line)["port"]
        return self

    def until(self, ready: Callable[[], bool]) -> Self:
        deadline = time.monotonic() + START_S
        while not ready():
            if self._popen.poll() is not None or time.monotonic() > deadline:
                raise self._failed()
            time.sleep(0.01)
        return self

    def output(self, timeout: float) -> bytes:
        """Everything it prints; it has `timeout` seconds to end."""
        try:
            out, _ = self._popen.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            self.stop()
            raise StartError(f"did not end within {timeout:.0f} s") from error
        if self._popen.returncode:
            raise self._failed()
        self.stop()
        return out

    def _failed(self) -> StartError:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self.stop()
        return StartError(lines[-1].replace(str(ROOT), ".") if lines else "no reason given")

    def cpu_s(self) -> float:
        """User and system seconds so far, to the nanosecond: the kernel's clock of a process."""
        return sum(_cpu_clock(pid) for pid in self._tree())

    def waited_s(self) -> float:
        """Seconds its threads were ready to run while others had the CPU."""
        return sum(_waited(pid) for pid in self._tree())

    def memory(self) -> int:
        """Proportional set size in bytes, descendants included."""
        return sum(_pss(pid) for pid in self._tree())

    def threads(self) -> Iterator[int]:
        """Their ids, descendants' included."""
        for pid in self._tree():
            yield from (int(path.name) for path in Path(f"/proc/{pid}/task").glob("*"))

    def _tree(self) -> list[int]:
        found = [self._popen.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        return found

    def stop(self) -> None:
        if self._popen.poll() is None:
            os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()
        self._errors.close()
        if self._popen.stdout:
            self._popen.stdout.close()


def spinner(cpu: int) -> Process:
    """Keeps a core awake with what runs only while nothing else wants to.

    An idle core is slow to wake, and charges that to whoever is woken.
    """
    return Process([sys.executable, "-c", _SPIN], cpu, talks=False)


@contextmanager
def before_others(*processes: Process) -> Iterator[bool]:
    """In the real-time class, as is what is started meanwhile; False where that is not allowed.

    Whatever else the machine does would take their cores away and leave them cold, and a byte
    proxy suffers from that otherwise than a service does.
    """
    try:
        os.sched_setscheduler(0, *_BEFORE)
    except (AttributeError, OSError):
        yield False
        return
    try:
        _schedule(processes, *_BEFORE)
        yield True
    finally:
        _schedule(processes, *_AS_OTHERS)
        os.sched_setscheduler(0, *_AS_OTHERS)


def _schedule(processes: Sequence[Process], policy: int, priority: os.sched_param) -> None:
    for process in processes:
        for thread in process.threads():
            with suppress(OSError):  # it has ended, or is somebody else's
                os.sched_setscheduler(thread, policy, priority)


def python(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def clean_environment(added: Mapping[str, str]) -> dict[str, str]:
    """Ours without settings that would reach the servers, nor a proxy between them.

    And they may keep what Python has compiled of them, as an installed package does: else each
    start compiles it anew.
    """
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("SLUICE_", "OPENAI_", "LANGCHAIN_", "LANGSMITH_"))
        and not name.upper().endswith("_PROXY")
        and name != "PYTHONDONTWRITEBYTECODE"
    }
    return ours | dict(added)


def _cpu_clock(pid: int) -> float:
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _waited(pid: int) -> float:
    try:
        threads = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    except OSError:
        return 0.0
    return sum(int(thread.split()[1]) for thread in threads) / 1e9


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def core_s(cpu: int) -> float:
    """Seconds in which the core worked for anybody, or another machine's work had it."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{cpu} "):
            user, nice, system, _idle, _waits, irq, softirq, steal = map(int, line.split()[1:9])
            ticks = user + nice + system + irq + softirq + steal
            return ticks / os.sysconf("SC_CLK_TCK")
    return 0.0


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def call(port: int, path: str, body: object = None) -> Any:
    """One small request; POST when there is a body, or GET."""
    data = None if body is None else json.dumps(body).encode()
    head = {"Content-Type": "application/json"}
    with urlopen(Request(f"http://127.0.0.1:{port}{path}", data, head), timeout=10) as reply:
        text = reply.read()
    return json.loads(text) if text[:1] in b"{[" else text


def answers(port: int, path: str) -> bool:
    try:
        call(port, path)
    except (URLError, OSError):
        return False
    return True


def two_cpus() -> tuple[int | None, int | None]:
    """One for the server and one for everything else, or neither."""
    if not hasattr(os, "sched_setaffinity"):
        return None, None
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else (None, None)


def machine() -> dict[str, Any]:
    """What a reader needs to know of this machine; no host name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), "?")
    server, load = two_cpus()
    with before_others() as allowed:
        scheduled = "real-time" if allowed else "as all others"
    pinned = f"server on CPU {server}, upstream and client on CPU {load}"
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "pinning": pinned if server is not None else "not pinned: one CPU, or not allowed",
        "class under load": scheduled,
    }
