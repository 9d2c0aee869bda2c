"""`python -m benchmarks`: runs the scenarios and writes the report."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import instructions
from benchmarks.harness import Bench
from benchmarks.mix import Step, quick_mix, quick_rate
from benchmarks.processes import StartError, machine
from benchmarks.report import renew_pages, write
from benchmarks.results import Results
from benchmarks.servers import SERVERS
from benchmarks.special import ALONE, SCENARIOS

QUICK = {"mix": quick_mix, "rate": quick_rate, **{n: SCENARIOS[n] for n in ("idle", "startup")}}


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


def main() -> None:
    scenarios = SCENARIOS | ALONE
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a subset, under three minutes")
    parser.add_argument("--only", choices=scenarios, action="append", help="may be repeated")
    parser.add_argument("--server", choices=SERVERS, action="append", help="may be repeated")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--write", action="store_true", help="renew the tables in the docs, too")
    options = parser.parse_args()
    usual = QUICK if options.quick else SCENARIOS
    chosen = {
        name: (QUICK if options.quick else {}).get(name, scenarios[name])
        for name in options.only or usual
    }
    console, results, about = Console(stderr=True), Results(), machine()
    began = time.monotonic()
    for name, count in instructions.told().items():
        results.add(f"instructions {name}", count)
    bench = Bench(options.server or SERVERS)
    try:
        steps = [step for made in chosen.values() for step in made(bench, results)]
        for step in told(steps, console):
            try:
                step.run()
            except StartError as error:
                bench.refused[step.says] = str(error)
    finally:
        bench.close()
        about["minutes"] = round((time.monotonic() - began) / 60, 1)
        text = write(options.out, about, results, bench.refused)
    if options.write:
        renew_pages(about, results)
    Console().print(Markdown(text)) if sys.stdout.isatty() else print(text)


if __name__ == "__main__":
    main()
