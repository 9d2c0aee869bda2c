"""`python -m benchmarks.instructions`: CPU instructions per token of Sluice's own steps together.

Valgrind counts them, so that a busy machine changes nothing and CI can hold the line: ends with 1
if they are over 10 % more than `instructions.json` says, and then tells each step, so that the
regression has a place. `--write` writes that file anew.

Each count is the difference of two processes with two numbers of tokens: start-up and imports
cancel out, and are done once, as both are forked from one that valgrind runs. It is told in
yardsticks, a piece of plain Python counted in the same way, since another build of Python needs
more instructions for everything.
"""

import argparse
import asyncio
import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from benchmarks.steps import STEPS, Work, in_loop

KEPT = Path(__file__).with_name("instructions.json")
ALLOWED = 1.1
FEW, MANY = 200, 1200
OURS = [name for name in STEPS if name.startswith("Sluice")]
UNIT, TOGETHER = "yardstick", "together"
VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
RUN = "import sys; from benchmarks.instructions import fork_each; fork_each(sys.argv[1:])"


def yardstick() -> Work:
    """Generators, a dict, a text and its bytes: what the steps are made of."""

    async def numbers(upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            await asyncio.sleep(0)
            yield number

    async def work(tokens: int) -> None:
        async for number in numbers(tokens):
            given = {"number": number, "text": f"a token {number}"}
            json.loads(json.dumps(given).encode())

    return in_loop(work)


def work_of(name: str) -> Work:
    if name == TOGETHER:
        works = [STEPS[step][1]() for step in OURS]
        return lambda tokens: [work(tokens) for work in works]
    return STEPS[name][1]() if name in STEPS else yardstick()


def fork_each(names: Sequence[str]) -> None:
    """In valgrind: a process for each name and number of tokens, told as `name tokens pid`."""
    for name in names:
        work_of(name)(1)  # imports
    gc.collect()
    gc.freeze()
    for name in names:
        for tokens in (FEW, MANY):
            if (child := os.fork()) == 0:
                work_of(name)(tokens)
                return
            os.waitpid(child, 0)
            print(f"{name}\t{tokens}\t{child}", flush=True)


def per_token(*names: str) -> Mapping[str, float]:
    """Of each, in yardsticks."""
    argv = [*VALGRIND, sys.executable, "-c", RUN, UNIT, *names]
    fixed = {**os.environ, "PYTHONHASHSEED": "0"}
    ran = subprocess.run(argv, env=fixed, capture_output=True, text=True, check=True)
    found = dict(re.findall(r"==(\d+)== I\s+refs:\s+([\d,]+)", ran.stderr))
    counts: dict[str, list[int]] = {}
    for line in ran.stdout.splitlines():
        name, _, process = line.split("\t")
        counts.setdefault(name, []).append(int(found[process].replace(",", "")))
    unit = counts[UNIT][1] - counts[UNIT][0]
    return {name: (many - few) / unit for name, (few, many) in counts.items()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep what is counted now")
    options = parser.parse_args()
    counted = per_token(TOGETHER, *OURS)
    together, steps = counted[TOGETHER], {name: counted[name] for name in OURS}
    if options.write:
        rounded = {name: round(count, 3) for name, count in steps.items()}
        text = json.dumps({TOGETHER: round(together, 3), "steps": rounded}, indent=1)
        KEPT.write_text(f"{text}\n")
    kept = json.loads(KEPT.read_text())
    print(f"A token costs {together:.3f} yardsticks, {together / kept[TOGETHER] - 1:+.1%}")
    for name, now in steps.items():
        was = kept["steps"].get(name)
        print(f"{name}: {now:.3f}, {'new' if was is None else f'{now / was - 1:+.1%}'}")
    return int(together > kept[TOGETHER] * ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
