"""The distributed mode under measurement: a gateway, a worker, Redis and PostgreSQL."""

import os
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from redis import Redis

from benchmarks.harness import Bench
from benchmarks.processes import Process, StartError, answers, free_port, listens, python
from benchmarks.servers import BOUNDS, SERVERS, Running

FLEET = replace(SERVERS["a2-redis"], name="fleet", says="gateway and worker")


class Fleet(Running):
    """A gateway and a worker on the server's CPU, the stores on the other one."""

    def __init__(self, bench: Bench) -> None:
        self.worker: Process | None = None
        self.postgres: Process | None = None
        super().__init__(FLEET, bench.upstream, bench.cpus)

    def _start(self, upstream: Process, cpu: int | None, load_cpu: int | None) -> Process:
        port = free_port()
        env = BOUNDS | {
            "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream.port}/v1",
            "OPENAI_API_KEY": "x",
            "OPENAI_MODEL": "m",
            "SLUICE_PORT": str(port),
            "SLUICE_STORE": self._store(load_cpu),
            "SLUICE_DATABASE": os.environ.get("SLUICE_DATABASE") or self._database(load_cpu),
        }
        self.store = env["SLUICE_STORE"]
        self.worker = Process(python("interfaces.cli", "worker"), cpu, env, talks=False)
        gateway = Process(python("interfaces.cli", "serve"), cpu, env, talks=False)
        gateway.port = port
        return gateway.until(lambda: answers(port, "/readyz"))

    def _database(self, cpu: int | None) -> str:
        initdb = shutil.which("initdb")
        if initdb is None:
            raise StartError("no initdb on this machine, and no SLUICE_DATABASE")
        programs, home, port = Path(initdb).resolve().parent, self._folder / "pg", free_port()
        home.mkdir()
        other: list[str] = []
        if os.geteuid() == 0:  # PostgreSQL refuses root
            other = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
            self._folder.chmod(0o711)
            shutil.chown(home, "nobody", "nogroup")
        data = str(home / "data")
        options = ("-D", data, "-U", "sluice", "-A", "trust", "-E", "UTF8", "--no-sync")
        Process([*other, str(programs / "initdb"), *options], None).output(60)
        options = ("-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F")
        argv = [*other, str(programs / "postgres"), *options]
        self.postgres = Process(argv, cpu, talks=False).until(lambda: listens(port))
        return f"postgresql://sluice@127.0.0.1:{port}/postgres"

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
        for process in (self.worker, self.postgres):
            if process is not None:
                process.stop()
        super()._clear()
