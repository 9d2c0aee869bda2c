"""What was aimed at, as data; the report says by itself what was met."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.mix import FULL, MEMORY
from benchmarks.results import Results
from benchmarks.servers import (
    AGENT,
    CHATOPENAI,
    NAIVE,
    NAIVE_AGENT,
    PASSTHROUGH,
    PROXY,
    SERVERS,
    SLUICE,
    Server,
)
from benchmarks.stats import middle, ratio


@dataclass(frozen=True, slots=True)
class Goal:
    """`most`: the figure must not be above `goal`; otherwise not below it. `far` is further.

    `today` is what was measured before the goals were set.
    """

    says: str
    unit: str
    measure: Callable[[Results], float | None]
    goal: float
    far: float | None = None
    most: bool = True
    today: str = "–"

    def judge(self, value: float | None) -> str:
        if value is None:
            return "not measured"
        if not self._reached(value, self.goal):
            return "not met"
        return "far goal met" if self.far is not None and self._reached(value, self.far) else "met"

    def _reached(self, value: float, bound: float) -> bool:
        return value <= bound if self.most else value >= bound


def _ratio(above: Server, below: Server) -> Callable[[Results], float | None]:
    """Of CPU per token as in life: the median of the rounds."""
    return lambda results: middle(results.ratios(above.name, below.name, FULL))


def _figure(name: str, times: float = 1) -> Callable[[Results], float | None]:
    def measure(results: Results) -> float | None:
        value = results.figure(name)
        return None if value is None else value * times

    return measure


def _first_added(server: Server) -> Callable[[Results], float | None]:
    def measure(results: Results) -> float | None:
        ours, direct = results.figure(f"round_ms {server.name}"), results.figure("round_ms direct")
        return None if ours is None or direct is None else ours - direct

    return measure


def _each_reader(results: Results) -> float | None:
    """What one reader more costs, in byte proxies."""
    one, hundred = results.figure("readers_cpu_us 1"), results.figure("readers_cpu_us 100")
    if one is None or hundred is None:
        return None
    return ratio((hundred - one) / 99, results.at(PROXY.name, FULL, lambda row: row.cpu_us))


GOALS = (
    Goal("Sluice, `llm` and SQLite, CPU in byte proxies", "×", _ratio(SLUICE, PROXY), 2.2, 1.6,
         today="3.2"),
    Goal("pass-through / Sluice", "×", _ratio(PASSTHROUGH, SLUICE), 3, 5, most=False, today="2.0"),
    Goal("the thirty lines / Sluice, `llm`", "×", _ratio(NAIVE, SLUICE), 6, 8, most=False,
         today="4.0"),
    Goal("the thirty lines / Sluice, the user's `ChatOpenAI`", "×", _ratio(NAIVE, CHATOPENAI), 4, 6,
         most=False, today="1.3 to 1.8"),
    Goal("the thirty lines / Sluice, `create_agent` with a tool", "×", _ratio(NAIVE_AGENT, AGENT),
         2.5, 4, most=False),
    Goal("largest rate with lag p99 ≤ 10 ms, one core", "tok/s", _figure(f"rate {SLUICE.name}"),
         10_000, 15_000, most=False, today="below 7,000"),
    Goal("A1, CPU per upstream token, in byte proxies", "×", _ratio(SERVERS["a1-sqlite"], PROXY),
         1.5, 1, today="5"),
    Goal("SQLite / memory", "×", _ratio(SLUICE, MEMORY), 1.05, 1.03, today="1.08"),
    Goal("first token added when idle, p50, memory", "ms", _first_added(MEMORY), 3, 2, today="4"),
    Goal("… SQLite", "ms", _first_added(SLUICE), 3, 2, today="7"),
    Goal("one answer", "M instructions", _figure("instructions answer, llm"), 6.5, 4.5,
         today="13.1"),
    Goal("one lone token", "k instructions", _figure("instructions lone token, llm", 1000), 65, 30,
         today="120"),
    Goal("memory of a silent live stream", "KiB", _figure("stream_kib a2-memory"), 80, 48,
         today="124"),
    Goal("memory of a token that is kept", "KiB", _figure("kept_kib"), 0.05, 0.02, today="0.4"),
    Goal("memory of an idle reader", "KiB", _figure("reader_kib"), 64, today="53"),
    Goal("replay of finished jobs", "tok/s", _figure("replay_tokens_s a2-memory"), 500_000,
         most=False, today="1,350,000"),
    Goal("one reader more of a job, in byte proxies", "×", _each_reader, 1, today="0.49"),
    Goal("`sluice serve` ready", "s", _figure("ready_s"), 3, today="1.4"),
    Goal("`sluice --help`", "s", _figure("help_s"), 0.3, today="0.06"),
)  # fmt: skip
