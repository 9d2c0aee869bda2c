"""`python -m benchmarks.instructions`: CPU instructions of answers, tokens, and Sluice's own steps.

Valgrind counts them, so that a busy machine changes nothing and CI can hold the line: ends with 1
if the steps together, or an answer or a lone token of the whole service, are over 10 % more than
`instructions.json` says. Each step is told, too, so that the regression has a place. `--write`
writes that file anew.

A step's count is the difference of two processes with two numbers of tokens: start-up and imports
cancel out, and are done once, as both are forked from one that valgrind runs. How the service is
counted is told in `benchmarks.answers`. All is told in yardsticks, a piece of plain Python counted
in the same way, since another build of Python needs more instructions for everything.
"""

import argparse
import asyncio
import gc
import json
import os
import re
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Self

from benchmarks import answers
from benchmarks.answers import SERVICES, Client, Mark, ask
from benchmarks.processes import ROOT, clean_environment, free_port
from benchmarks.steps import STEPS, Work, in_loop

KEPT = Path(__file__).with_name("instructions.json")
BEFORE = KEPT.parent / "results" / "instructions_before.json"
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
    """In valgrind: a process for each service, and for each other name and number of tokens.

    They are told as `service name pid` and `step name pid`.
    """
    steps = [name for name in names if name not in SERVICES]
    if len(steps) < len(names):
        answers.load()
    for name in steps:
        work_of(name)(1)  # imports
    gc.collect()
    gc.freeze()
    for name in names:
        for tokens in (0,) if name in SERVICES else (FEW, MANY):
            if (child := os.fork()) == 0:
                work_of(name)(tokens) if tokens else answers.serve(name, _say)
                return
            _say(f"{'step' if tokens else 'service'}\t{name}\t{child}")
            os.waitpid(child, 0)


def _say(line: str) -> None:
    print(line, flush=True)


class Valgrind:
    """Runs `fork_each`, and tells what it prints and what it has counted."""

    def __init__(self, names: Sequence[str], env: Mapping[str, str]) -> None:
        self._argv = (*VALGRIND, sys.executable, "-c", RUN, *names)
        self._env = env

    async def __aenter__(self) -> Self:
        self._told = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self._process = await asyncio.create_subprocess_exec(
            *self._argv, env=self._env, cwd=ROOT, stdout=PIPE, stderr=self._told
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        self._told.close()

    async def said(self) -> list[str]:
        """The next line of ours, in its parts; none at the end."""
        assert self._process.stdout is not None
        while line := (await self._process.stdout.readline()).decode():
            if "\t" in line:
                return line.rstrip().split("\t")
        return []

    async def mark(self, pid: int) -> Mark:
        os.kill(pid, signal.SIGUSR1)
        _, process, ticks = await self.said()
        return Mark(process, int(ticks))

    async def counts(self) -> dict[str, int]:
        """Instructions by process id, once all of them have ended."""
        status = await self._process.wait()
        self._told.seek(0)
        told = self._told.read().decode(errors="replace")
        if status:
            raise ChildProcessError(told[-2000:])
        found = re.findall(r"==(\d+)== I\s+refs:\s+([\d,]+)", told)
        return {pid: int(count.replace(",", "")) for pid, count in found}


async def counted(*names: str) -> Mapping[str, float]:
    """Instructions: of a step a token, the yardstick's among them; of a service see `told_as`."""
    steps: dict[str, list[str]] = {}
    services: dict[str, Sequence[Mark]] = {}
    async with answers.upstream() as (model, upstream):
        port = free_port()
        env = clean_environment({"PYTHONHASHSEED": "0", **answers.settings(port, upstream)})
        async with Valgrind((UNIT, *names), env) as valgrind:
            while said := await valgrind.said():
                kind, name, pid = said
                if kind == "step":
                    steps.setdefault(name, []).append(pid)
                    continue
                async with Client(port, model, int(pid)) as client:
                    services[name] = await ask(client, partial(valgrind.mark, int(pid)))
                os.kill(int(pid), signal.SIGTERM)
            counts = await valgrind.counts()
    found = {
        name: (counts[many] - counts[few]) / (MANY - FEW) for name, (few, many) in steps.items()
    }
    for name, marks in services.items():
        found |= zip(told_as(name), answers.costs(marks, counts), strict=True)
    return found


def told_as(service: str) -> tuple[str, str]:
    return f"answer, {service}", f"lone token, {service}"


def told() -> dict[str, float]:
    """Millions of instructions: what is kept, and as `before: …` what was before it was held."""
    return _millions(KEPT) | {f"before: {name}": n for name, n in _millions(BEFORE).items()}


def _millions(path: Path) -> dict[str, float]:
    kept = json.loads(path.read_text()) if path.exists() else {}
    return {name: count * kept[UNIT] / 1e6 for name, count in kept.items() if name != UNIT}


def compared(now: Mapping[str, float], kept: Mapping[str, float], unit: float) -> str:
    """A line for each, in yardsticks."""
    return "\n".join(
        f"{name}: {count:.3f} ({count * unit / 1e6:.3f} M instructions),"
        f" {f'{count / kept[name] - 1:+.1%}' if name in kept else 'new'}"
        for name, count in now.items()
    )


def dearer(now: Mapping[str, float], kept: Mapping[str, float]) -> list[str]:
    """What is over 10 % more than was kept. Of the steps only their sum counts."""
    held = (TOGETHER, *(line for service in SERVICES for line in told_as(service)))
    return [name for name in held if name in kept and now[name] > kept[name] * ALLOWED]


def _in_yardsticks() -> tuple[float, dict[str, float]]:
    """A yardstick's instructions, and all that is held."""
    costs = dict(asyncio.run(counted(TOGETHER, *OURS, *SERVICES)))
    unit = costs.pop(UNIT)
    return unit, {name: cost / unit for name, cost in costs.items()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep what is counted now")
    options = parser.parse_args()
    unit, now = _in_yardsticks()
    if options.write:
        rounded = {UNIT: round(unit), **{name: round(count, 3) for name, count in now.items()}}
        KEPT.write_text(json.dumps(rounded, indent=1) + "\n")
    kept = json.loads(KEPT.read_text())
    if dearer(now, kept):  # a busy machine wakes a service once more, and never once less
        _, again = _in_yardsticks()
        now = {name: min(count, again[name]) for name, count in now.items()}
    print(f"In yardsticks of {unit:,.0f} instructions:\n{compared(now, kept, unit)}")
    if over := dearer(now, kept):
        print(f"Over 10 % more than kept: {'; '.join(over)}")
    return int(bool(over))


if __name__ == "__main__":
    sys.exit(main())
