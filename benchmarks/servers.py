"""Who is measured: Sluice by path and store, and the baselines, as data."""

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.processes import Process, StartError, answers, free_port, python

BOUNDS = {
    "SLUICE_MAX_RUNNING": "5000",
    "SLUICE_MAX_QUEUED": "20000",
    "SLUICE_USER_RUNNING": "5000",
    "SLUICE_USER_QUEUED": "20000",
    "SLUICE_USER_STREAMS": "20000",
    "SLUICE_MAX_ANSWER_BYTES": str(1 << 28),
    "SLUICE_TOTAL_TIMEOUT": "600",
    "SLUICE_LOG_LEVEL": "WARNING",
}


@dataclass(frozen=True, slots=True)
class Server:
    """`module` empty: the load client asks the upstream itself, to see what the rig costs.

    `graph`: which of `benchmarks.graph` Sluice serves.
    """

    name: str
    says: str
    module: str = ""
    arguments: tuple[str, ...] = ()
    path: str = ""
    dialect: str = "plain"
    flag: str = ""
    store: str = ""
    graph: str = "build"

    @property
    def whole(self) -> bool:
        """Answers at the end, without tokens."""
        return self.flag == "false"


STORES = {"sqlite": "SQLite", "memory": "memory", "redis": "Redis, gateway and worker"}


def _sluice(path: str, store: str) -> Server:
    flag = "true" if path == "A2" else "false"
    return Server(
        f"{path.lower()}-{store}",
        f"Sluice, `llm`, {STORES[store]}" if path == "A2" else f"Sluice A1, {STORES[store]}",
        "sluice.interfaces.cli",
        ("serve",),
        dialect="sluice",
        flag=flag,
        store=store,
    )


DIRECT = Server("direct", "the upstream itself", path="/v1/chat/completions")
PROXY = Server("proxy", "byte proxy", "benchmarks.byte_proxy", path="/v1/chat/completions")
PASSTHROUGH = Server(
    "passthrough", "SDK pass-through, no graph", "benchmarks.baselines", ("passthrough",), "/chat"
)
NAIVE = Server(
    "naive", "the thirty lines", "benchmarks.baselines", ("naive",), "/chat", "sse-starlette"
)
NAIVE_AGENT = replace(
    NAIVE, name="naive-agent", says="the thirty lines, `create_agent`", arguments=("naive_agent",)
)
BASELINES = (DIRECT, PROXY, PASSTHROUGH, NAIVE, NAIVE_AGENT)
SLUICES = tuple(_sluice(path, s) for s in ("sqlite", "memory", "redis") for path in ("A2", "A1"))
SLUICE = SLUICES[0]
"""As it comes: the bundled client, tokens, and its default store."""
CHATOPENAI = replace(
    SLUICE, name="chatopenai", says="Sluice, `ChatOpenAI` in a node", graph="chatopenai"
)
RAW_SDK = replace(SLUICE, name="raw-sdk", says="Sluice, the OpenAI SDK in a node", graph="raw_sdk")
AGENT = replace(
    SLUICE, name="agent", says="Sluice, `create_agent` with a tool, two calls", graph="agent"
)
USERS = (CHATOPENAI, RAW_SDK, AGENT)
SERVERS = {server.name: server for server in (*BASELINES, *SLUICES, *USERS)}


def model_of(upstream: Process) -> dict[str, str]:
    """The settings that name the upstream."""
    return {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream.port}/v1",
        "OPENAI_API_KEY": "x",
        "OPENAI_MODEL": "m",
    }


class Running:
    """A server with what it needs beside it: a folder for its database."""

    redis: Process | None = None

    def __init__(
        self, server: Server, upstream: Process, cpus: tuple[int | None, int | None]
    ) -> None:
        self.server = server
        self._folder = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
        try:
            self.process = self._start(upstream, *cpus)
        except StartError:
            self._clear()
            raise
        self.port = self.process.port

    def _start(self, upstream: Process, cpu: int | None, _load_cpu: int | None) -> Process:
        server, env = self.server, model_of(upstream)
        if not server.module:
            return upstream
        if server.store:
            env |= BOUNDS | {
                "SLUICE_PORT": str(free_port()),
                "SLUICE_STORE": self._store(),
                "ENABLE_TOKEN_STREAMING": server.flag,
                "SLUICE_PIPELINE": f"benchmarks.graph:{server.graph}",
            }
        argv = python(server.module, *server.arguments)
        if not server.store:
            return Process(argv, cpu, env).read_port()
        process = Process(argv, cpu, env, talks=False)
        process.port = int(env["SLUICE_PORT"])
        return process.until(lambda: answers(process.port, "/readyz"))

    def _store(self) -> str:
        if self.server.store == "memory":
            return "memory://"
        return f"sqlite:///{self._folder}/sluice.db"

    @property
    def processes(self) -> dict[str, Process]:
        """By what each is."""
        return {"server": self.process}

    def cpu_s(self) -> float:
        """User and system seconds so far, of all processes that are measured."""
        return self.process.cpu_s()

    def waited_s(self) -> float:
        """Seconds in which others had their CPU."""
        return self.process.waited_s()

    def stop(self) -> None:
        if self.server.module:
            self.process.stop()
        self._clear()

    def _clear(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
