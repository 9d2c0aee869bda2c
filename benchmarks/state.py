"""What a job costs with each store, and with a state that the graph keeps.

    python -m benchmarks.state [--rounds 8] [--write]

Every service runs at once and they take turns, one chat of thirty turns after the other, so that
whatever else the machine does hits them alike. A turn adds a tool's call, its result and an
answer, and asks no model. Milliseconds: from the question to the end of the answer's stream, and
the CPU time of the service's own processes. That of Redis and PostgreSQL is not counted, nor are
their disks waited for: they keep nothing through a crash. `--write` renews benchmarks/results and
the table in docs/reports/performance.md. Two minutes.
"""

import argparse
import http.client
import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.cluster import postgres_server, redis_server
from benchmarks.growth import renew
from benchmarks.processes import ROOT, Process, answers, free_port, machine, python, two_cpus
from benchmarks.servers import BOUNDS

if TYPE_CHECKING:
    from langgraph.graph import MessagesState, StateGraph

PAGE = ROOT / "docs" / "reports" / "performance.md"
RESULT = ROOT / "benchmarks" / "results" / "state.json"
TURNS, PART = 30, 10
"""Turns of a chat; the first and the last so many are told of by themselves."""
SETTLES_S = 0.1
"""What is still done for a job behind its end."""
QUESTION = "What does tea cost?"
FOUND = "Green tea: 9 euros, black tea: 8 euros. " * 10
ANSWER = "Green tea costs 9 euros, and black tea costs 8. " * 5


def build(_: object) -> "StateGraph[MessagesState, None, MessagesState, MessagesState]":
    from langchain_core.messages import AIMessage, ToolMessage
    from langgraph.config import get_stream_writer
    from langgraph.graph import START, MessagesState, StateGraph

    async def look(state: MessagesState) -> Mapping[str, Any]:
        own, asked = secrets.token_hex(8), state["messages"][-1].text
        asks = AIMessage("", tool_calls=[{"name": "search", "args": {"query": asked}, "id": own}])
        return {"messages": [asks, ToolMessage(FOUND, tool_call_id=own)]}

    async def answer(state: MessagesState) -> Mapping[str, Any]:
        text = f"{ANSWER}That is in {len(state['messages'])} messages."
        get_stream_writer()({"token": text})
        return {"messages": [AIMessage(text)]}

    builder = StateGraph(MessagesState).add_node("look", look)
    builder.add_node("answer", answer, metadata={"speaks": True})
    return builder.add_edge(START, "look").add_edge("look", "answer")


@dataclass(frozen=True, eq=False)
class Service:
    """`state`: as SLUICE_STATE has it."""

    store: str
    state: str
    processes: Sequence[Process]

    def cpu_ms(self) -> float:
        return sum(process.cpu_s() for process in self.processes) * 1000

    def chat(self) -> tuple["Cost", "Cost"]:
        """Of its first turns, and of its last."""
        session, costs = secrets.token_hex(8), list[Cost]()
        with closing(http.client.HTTPConnection("127.0.0.1", self.processes[0].port)) as asks:
            for turns in (PART, TURNS - 2 * PART, PART):
                cpu = self.cpu_ms()
                took = [ask(asks, session) for _ in range(turns)]
                time.sleep(SETTLES_S)
                costs.append(Cost(median(took), (self.cpu_ms() - cpu) / turns))
        return costs[0], costs[-1]


@dataclass(frozen=True)
class Cost:
    """Milliseconds a job."""

    wall: float
    cpu: float


def ask(asks: http.client.HTTPConnection, session: str) -> float:
    """Milliseconds from the question to the end of the answer's stream."""
    body = json.dumps({"message": QUESTION, "session_id": session})
    head = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    began = time.perf_counter()
    asks.request("POST", "/api/v1/chat", body, head)
    told = asks.getresponse().read()
    took = (time.perf_counter() - began) * 1000
    assert b"event: done\n" in told, told[-500:].decode()
    return took


@contextmanager
def services(cpu: int | None, stores_cpu: int | None) -> Iterator[Sequence[Service]]:
    """All of them, until the end. Raises StartError."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-bench-")))
        redis, redis_url = redis_server(stores_cpu, folder)
        stack.callback(redis.stop)
        postgres, postgres_url = postgres_server(stores_cpu, folder)
        stack.callback(postgres.stop)

        def database() -> dict[str, str]:
            """One of its own."""
            import psycopg

            name = f"bench_{secrets.token_hex(4)}"
            with psycopg.connect(postgres_url, autocommit=True) as admin:
                admin.execute(f'CREATE DATABASE "{name}"')
            return {"SLUICE_DATABASE": postgres_url.removesuffix("postgres") + name}

        def service(store: str, state: str, settings: dict[str, str], *others: str) -> Service:
            port = free_port()
            env = BOUNDS | SETTINGS | settings | {"SLUICE_PORT": str(port), "SLUICE_STATE": state}
            started = list[Process]()
            for command in ("serve", *others):
                argv = python("sluice.interfaces.cli", command)
                started.append(Process(argv, cpu, env, talks=False))
                stack.callback(started[-1].stop)
            started[0].port = port
            started[0].until(lambda: answers(port, "/readyz"))
            return Service(store, state, started)

        found = [service("memory", "chat", {"SLUICE_STORE": "memory://"})]
        for state in ("chat", "graph"):
            kept = {"SLUICE_STORE": f"sqlite:///{folder / state}.db"}
            found.append(service("SQLite", state, kept))
        for state in ("chat", "graph"):
            kept = {"SLUICE_STORE": "memory://", **database()}
            found.append(service("memory, PostgreSQL", state, kept))
        for number, state in enumerate(("chat", "graph")):
            kept = {"SLUICE_STORE": f"{redis_url.removesuffix('0')}{number}", **database()}
            found.append(service("Redis, PostgreSQL", state, kept, "worker"))
        yield found


SETTINGS = {
    "SLUICE_PIPELINE": "benchmarks.state:build",
    "ENABLE_TOKEN_STREAMING": "true",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    "OPENAI_API_KEY": "unused",
    "OPENAI_MODEL": "unused",
}


def measured(rounds: int) -> Sequence[Mapping[str, Any]]:
    """A row for each service: milliseconds of the first and the last turns of a chat."""
    cpu, stores_cpu = two_cpus()
    with services(cpu, stores_cpu) as each:
        if stores_cpu is not None:
            os.sched_setaffinity(0, {stores_cpu})
        costs: dict[Service, list[tuple[Cost, Cost]]] = {service: [] for service in each}
        for number in range(rounds + 1):
            for service, found in costs.items():
                cost = service.chat()
                if number:  # the first one warms it up
                    found.append(cost)
    return [
        {
            "store": service.store,
            "state": service.state,
            "wall_ms": [median(cost[part].wall for cost in found) for part in (0, 1)],
            "cpu_ms": [median(cost[part].cpu for cost in found) for part in (0, 1)],
        }
        for service, found in costs.items()
    ]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """What is added to a job with memory alone, first turns → last turns."""
    first = rows[0]
    lines = ["| store | `SLUICE_STATE` | ms a job | added | CPU ms a job | added |"]
    lines.append("|---|---|---|---|---|---|")
    for row in rows:
        cells = [row["store"], row["state"]]
        for name in ("wall_ms", "cpu_ms"):
            pairs = list(zip(row[name], first[name], strict=True))
            cells.append(" → ".join(f"{value:.1f}" for value, _ in pairs))
            added = " → ".join(f"{value - least:+.1f}" for value, least in pairs)
            cells.append("" if row is first else added)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.state", description=__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="chats of each service")
    parser.add_argument("--write", action="store_true", help="renew the results and the report")
    given = parser.parse_args()
    about = machine()
    rows = measured(given.rounds)
    text = table(rows)
    print(text)
    if given.write:
        kept = {"machine": about, "rounds": given.rounds, "rows": rows}
        RESULT.write_text(json.dumps(kept, indent=1) + "\n")
        PAGE.write_text(renew(PAGE.read_text(), {"state": text}))


if __name__ == "__main__":
    main()
