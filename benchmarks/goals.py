"""What was aimed at, as data; the report says by itself what was met."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.results import Results
from benchmarks.stats import ratio


@dataclass(frozen=True, slots=True)
class Goal:
    """`most`: the figure must not be above `goal`; otherwise not below it. `far` is further."""

    says: str
    unit: str
    measure: Callable[[Results], float | None]
    goal: float
    far: float | None = None
    most: bool = True

    def judge(self, value: float | None) -> str:
        if value is None:
            return "not measured"
        if not self._reached(value, self.goal):
            return "not met"
        return "far goal met" if self.far is not None and self._reached(value, self.far) else "met"

    def _reached(self, value: float, bound: float) -> bool:
        return value <= bound if self.most else value >= bound


def _cheaper(server: str, than: str) -> Callable[[Results], float | None]:
    return lambda results: ratio(results.cpu(than), results.cpu(server))


def _dearer(server: str, than: str) -> Callable[[Results], float | None]:
    return lambda results: ratio(results.cpu(server), results.cpu(than))


def _figure(name: str) -> Callable[[Results], float | None]:
    return lambda results: results.figure(name)


def _share(above: str, below: str) -> Callable[[Results], float | None]:
    return lambda results: ratio(results.figure(above), results.figure(below))


def _saturation(server: str) -> Callable[[Results], float | None]:
    return lambda results: ratio(results.peak(server), results.peak("passthrough"))


def _redis_more(results: Results) -> float | None:
    redis, memory = results.figure("store_cpu_us redis"), results.figure("store_cpu_us memory")
    return None if redis is None or memory is None else redis - memory


def _first_added(results: Results) -> float | None:
    ours, direct = results.figure("round_ms a2-memory"), results.figure("round_ms direct")
    return None if ours is None or direct is None else ours - direct


def _each_reader(results: Results) -> float | None:
    """What one reader more costs, in byte proxies."""
    one, hundred = results.figure("readers_cpu_us 1"), results.figure("readers_cpu_us 100")
    if one is None or hundred is None:
        return None
    return ratio((hundred - one) / 99, results.cpu("proxy"))


GOALS = (
    Goal("A2 from `messages`, CPU against naive", "×", _cheaper("a2-messages", "naive"), 3.5,
         most=False),
    Goal("A2 from `messages`, tokens/s at saturation against pass-through", "×",
         _saturation("a2-messages"), 1.5, most=False),
    Goal("A2, CPU against naive", "×", _cheaper("a2-memory", "naive"), 5, 8, most=False),
    Goal("A2, CPU against pass-through", "×", _cheaper("a2-memory", "passthrough"), 2.5, 4,
         most=False),
    Goal("A2, CPU in byte proxies", "×", _dearer("a2-memory", "proxy"), 5),
    Goal("A2 with the user's own ChatOpenAI, CPU against naive, 50 streams as in life", "×",
         _share("mixed_cpu_us naive 50", "mixed_cpu_us a2-chatopenai 50"), 4, 6, most=False),
    Goal("… 25 streams, where naive is not saturated", "×",
         _share("mixed_cpu_us naive 25", "mixed_cpu_us a2-chatopenai 25"), 4, 6, most=False),
    Goal("10,000 tokens/s paced (200 streams), of which held", "tok/s",
         lambda results: results.sure("a2-memory", 200, lambda row: row.tokens_s), 9_900,
         most=False),
    Goal("… and its lag p99", "ms",
         lambda results: results.sure("a2-memory", 200, lambda row: row.lag_p99_ms), 50),
    Goal("lag p99 at half load", "ms", _figure("half_lag_p99_ms"), 10, 3),
    Goal("time to first token added when idle, three requests", "ms", _first_added, 5, 3),
    Goal("throughput in fivefold overload, of the peak", "×", _figure("overload_share"), 0.8, 0.95,
         most=False),
    Goal("… tokens lost", "", _figure("overload_lost"), 0),
    Goal("… answers not ended by a right `done`", "", _figure("overload_broken"), 0),
    Goal("… tokens of the least served stream", "", _figure("overload_least"), 1, most=False),
    Goal("… normal again after", "s", _figure("overload_recovery_s"), 2),
    Goal("memory per live stream", "KiB", _figure("stream_kib a2-memory"), 250, 100),
    Goal("memory per idle reader", "KiB", _figure("reader_kib"), 64),
    Goal("SQLite store against memory", "×", _dearer("a2-sqlite", "a2-memory"), 1.2),
    Goal("Redis log more than memory, writer and reader", "µs", _redis_more, 40, 20),
    Goal("unpaced", "tok/s", lambda results: results.peak("a2-memory", 0), 30_000, most=False),
    Goal("replay of finished jobs", "tok/s", _figure("replay_tokens_s a2-memory"), 500_000,
         most=False),
    Goal("CPU per token, 8,000 tokens against 500", "×",
         _share("long_cpu_us 8000", "long_cpu_us 500"), 1.1),
    Goal("bytes per token, 8,000 tokens against 500", "×",
         _share("long_bytes 8000", "long_bytes 500"), 1.1),
    Goal("one reader more of a job, in byte proxies", "×", _each_reader, 1),
    Goal("A1 against the SDK read by itself", "×", _dearer("a1-memory", "client"), 1),
    Goal("`sluice serve` ready", "s", _figure("ready_s"), 3),
    Goal("`sluice --help`", "s", _figure("help_s"), 0.3),
)  # fmt: skip
