"""`python -m benchmarks`: runs the scenarios and writes the report."""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.harness import Bench
from benchmarks.matrix import Step, matrix, quick_matrix
from benchmarks.processes import StartError, machine
from benchmarks.report import write
from benchmarks.results import Results
from benchmarks.servers import SERVERS
from benchmarks.special import ALONE, SPECIAL

QUICK = ("idle", "half", "readers", "replay", "startup")


def told(steps: Sequence[Step], console: Console) -> Iterator[Step]:
    """Yields the steps: under a progress bar on a terminal, else with a line for each."""
    if not console.is_terminal:
        began = time.monotonic()
        for number, step in enumerate(steps, 1):
            spent = time.monotonic() - began
            print(f"{spent:4.0f} s {number}/{len(steps)} {step.says}", file=sys.stderr, flush=True)
            yield step
        return
    columns = (BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=console) as progress:
        task = progress.add_task("", total=len(steps))
        for step in steps:
            progress.update(task, description=step.says)
            yield step
            progress.advance(task)


def _usual(scenarios: Iterable[str]) -> list[str]:
    return [name for name in scenarios if name not in ALONE]


def main() -> None:
    scenarios = {"matrix": matrix, **SPECIAL}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a subset, two minutes")
    parser.add_argument("--only", choices=scenarios, action="append", help="may be repeated")
    parser.add_argument("--server", choices=SERVERS, action="append", help="may be repeated")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    if options.quick:
        scenarios["matrix"] = quick_matrix
    names = options.only or (["matrix", *QUICK] if options.quick else _usual(scenarios))
    console, results, about = Console(stderr=True), Results(), machine()
    bench = Bench(options.server or SERVERS)
    try:
        steps = [step for name in names for step in scenarios[name](bench, results)]
        for step in told(steps, console):
            try:
                step.run()
            except StartError as error:
                bench.refused[step.says] = str(error)
    finally:
        bench.close()
        text = write(options.out, about, results, bench.refused)
    Console().print(Markdown(text)) if sys.stdout.isatty() else print(text)


if __name__ == "__main__":
    main()
