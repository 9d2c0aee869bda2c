"""`python -m benchmarks.instructions`: CPU instructions per token of Sluice's own steps together.

Valgrind counts them, so that a busy machine changes nothing and CI can hold the line: ends with 1
if they are over 10 % more than `instructions.json` says, and then tells each step, so that the
regression has a place. `--write` writes that file anew.

Each count is the difference of two runs with two numbers of tokens: start-up and imports cancel
out. It is told in yardsticks, a piece of plain Python counted in the same way, since another
build of Python needs more instructions for everything.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from benchmarks.steps import STEPS, Work, in_loop

KEPT = Path(__file__).with_name("instructions.json")
ALLOWED = 1.1
FEW, MANY = 200, 1200
OURS = [name for name in STEPS if name.startswith("Sluice")]
VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
RUN = (
    "import sys; from benchmarks.instructions import work_of\n"
    "for name in sys.argv[2:]: work_of(name)(int(sys.argv[1]))"
)


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
    return STEPS[name][1]() if name in STEPS else yardstick()


def counted(tokens: int, names: Sequence[str]) -> int:
    argv = [*VALGRIND, sys.executable, "-c", RUN, str(tokens), *names]
    fixed = {**os.environ, "PYTHONHASHSEED": "0"}
    said = subprocess.run(argv, env=fixed, capture_output=True, text=True, check=True).stderr
    found = re.search(r"I\s+refs:\s+([\d,]+)", said)
    assert found, said
    return int(found[1].replace(",", ""))


def per_token(*names: str) -> float:
    return (counted(MANY, names) - counted(FEW, names)) / (MANY - FEW)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep what is counted now")
    options = parser.parse_args()
    unit = per_token("yardstick")
    together = per_token(*OURS) / unit
    if options.write:
        steps = {name: round(per_token(name) / unit, 3) for name in OURS}
        kept = {"together": round(together, 3), "steps": steps}
        KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    kept = json.loads(KEPT.read_text())
    before = kept["together"]
    print(f"A token costs {together:.3f} yardsticks, {together / before - 1:+.1%}")
    if together <= before * ALLOWED:
        return 0
    for name in OURS:
        now, was = per_token(name) / unit, kept["steps"].get(name)
        print(f"{name}: {now:.3f}, {'new' if was is None else f'{now / was - 1:+.1%}'}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
