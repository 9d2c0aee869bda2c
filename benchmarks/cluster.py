"""The distributed mode under measurement: a gateway, a worker, Redis and PostgreSQL."""

import os
import shutil
from contextlib import closing
from pathlib import Path

from redis import Redis

from benchmarks.processes import Process, StartError, answers, free_port, listens, python
from benchmarks.servers import BOUNDS, Running, Server, model_of


def redis_server(cpu: int | None, folder: Path) -> tuple[Process, str]:
    """A Redis that keeps nothing, and its address. Raises StartError."""
    program = shutil.which("redis-server")
    if program is None:
        raise StartError("no redis-server on this machine")
    port = free_port()
    argv = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    redis = Process([*argv, "--dir", str(folder)], cpu, talks=False)
    return redis.until(lambda: listens(port)), f"redis://127.0.0.1:{port}/0"


def postgres_server(cpu: int | None, folder: Path) -> tuple[Process, str]:
    """A PostgreSQL that keeps nothing through a crash, and its address. Raises StartError."""
    initdb = shutil.which("initdb")
    if initdb is None:
        raise StartError("no initdb on this machine, and no SLUICE_DATABASE")
    programs, home, port = Path(initdb).resolve().parent, folder / "pg", free_port()
    home.mkdir()
    other: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses root
        other = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        folder.chmod(0o711)
        shutil.chown(home, "nobody", "nogroup")
    data = str(home / "data")
    options = ("-D", data, "-U", "sluice", "-A", "trust", "-E", "UTF8", "--no-sync")
    Process([*other, str(programs / "initdb"), *options], None).output(60)
    options = ("-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F")
    argv = [*other, str(programs / "postgres"), *options]
    postgres = Process(argv, cpu, talks=False).until(lambda: listens(port))
    return postgres, f"postgresql://sluice@127.0.0.1:{port}/postgres"


class Fleet(Running):
    """A gateway and a worker on the server's CPU, the stores on the other one."""

    worker: Process | None = None
    postgres: Process | None = None

    def _start(self, upstream: Process, cpu: int | None, load_cpu: int | None) -> Process:
        port = free_port()
        self.redis, self.store = redis_server(load_cpu, self._folder)
        database = os.environ.get("SLUICE_DATABASE")
        if not database:
            self.postgres, database = postgres_server(load_cpu, self._folder)
        env = BOUNDS | model_of(upstream)
        env |= {
            "SLUICE_PORT": str(port),
            "SLUICE_STORE": self.store,
            "SLUICE_DATABASE": database,
            "ENABLE_TOKEN_STREAMING": self.server.flag,
            "SLUICE_PIPELINE": f"benchmarks.graph:{self.server.graph}",
        }
        self.worker = Process(python("sluice.interfaces.cli", "worker"), cpu, env, talks=False)
        gateway = Process(python("sluice.interfaces.cli", "serve"), cpu, env, talks=False)
        gateway.port = port
        return gateway.until(lambda: answers(port, "/readyz"))

    def cpu_s(self) -> float:
        assert self.worker is not None
        return self.process.cpu_s() + self.worker.cpu_s()

    def waited_s(self) -> float:
        """At least: while one of the two works, the other may have to wait for it."""
        assert self.worker is not None
        return max(0.0, self.process.waited_s() + self.worker.waited_s() - self.cpu_s())

    @property
    def processes(self) -> dict[str, Process]:
        found = {
            "gateway": self.process,
            "worker": self.worker,
            "redis": self.redis,
            "postgres": self.postgres,
        }
        return {name: process for name, process in found.items() if process is not None}

    def redis_bytes(self) -> int:
        """Of all logs; what Redis holds for its connections is not in it."""
        with closing(Redis.from_url(self.store)) as client:
            keys = client.scan_iter(match="sluice:{*", count=1000)
            return sum(client.memory_usage(key, samples=0) or 0 for key in keys)

    def stop(self) -> None:
        self.process.stop()
        self._clear()

    def _clear(self) -> None:
        for process in (self.worker, self.postgres, self.redis):
            if process is not None:
                process.stop()
        super()._clear()


def started(server: Server, upstream: Process, cpus: tuple[int | None, int | None]) -> Running:
    """Raises StartError."""
    kind = Fleet if server.store == "redis" else Running
    return kind(server, upstream, cpus)
