"""From what jobs, tokens and readers cost to how many processes a number of live streams takes."""

from collections.abc import Mapping
from math import ceil

from benchmarks.model import Model
from benchmarks.svg import short

TOKENS_S = 30
"""Of one answer, as models write."""
ANSWER = 400
"""Tokens."""
READERS = 1.2
"""Of one answer: now and then a second tab, or a second device."""
BUSY = 0.6
"""Share of a core that is planned with; the rest is for peaks and for the model's error."""
RETENTION_S = 3600
LIVE = (100, 1_000, 10_000, 100_000)
PROCESSES = ("worker", "gateway", "redis", "postgres")
GIB = 1 << 30
KIB = 1 << 10


def cores(model: Model, live: float, tokens_s: float = TOKENS_S) -> float:
    """What so many answers that are being written and read at once cost."""
    tokens = live * tokens_s
    wakes = tokens * (1 - BUSY)
    return model.cpu_us(live * TOKENS_S / ANSWER, tokens, tokens * READERS, wakes, 0) / 1e6


def assumptions() -> str:
    return (
        f"{TOKENS_S} tokens/s and {ANSWER} tokens an answer, {READERS} readers each,"
        f" {BUSY:.0%} of a core used, logs kept for {RETENTION_S} s."
    )


def capacity(models: Mapping[str, Model], figures: Mapping[str, float]) -> str:
    """`figures` in bytes: see `python -m benchmarks.fleet`."""
    head = ["live streams", *(short(live) for live in LIVE)]
    rows = [["tokens/s", *(short(live * TOKENS_S) for live in LIVE)]]
    rows += [["jobs/s", *(short(live * TOKENS_S / ANSWER) for live in LIVE)]]
    rows += [_needed(name, models[name], TOKENS_S) for name in PROCESSES if name in models]
    if "redis" in models:
        rows.append(_needed("… redis, if it kept no tokens", models["redis"], 0))
    for says, each in _bytes(figures).items():
        rows.append([says, *(f"{each * live / GIB:,.1f} GiB" for live in LIVE)])
    lines = [head, ["---"] * len(head), *rows]
    return f"{assumptions()}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _needed(says: str, model: Model, tokens_s: float) -> list[str]:
    room = BUSY - model.cost.get("seconds", 0) / 1e6
    one = room / cores(model, 1, tokens_s)
    return [f"{says}: one carries {short(one)}", *(short(ceil(live / one)) for live in LIVE)]


def _bytes(figures: Mapping[str, float]) -> dict[str, float]:
    """Memory by what holds it, for one live stream."""
    kept = figures["redis_token"] * TOKENS_S * RETENTION_S
    return {
        "memory of all workers' jobs": figures["worker_job"],
        "memory of all gateways' streams": figures["gateway_job"]
        + (READERS - 1) * figures["gateway_reader"],
        "memory of all Redis": kept,
    }
