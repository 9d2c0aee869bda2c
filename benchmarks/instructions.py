"""`python -m benchmarks.instructions`: CPU instructions per token of Sluice's own steps.

Valgrind counts them, so that a busy machine changes nothing and CI can hold the line: ends with 1
if a step needs over 10 % more than `instructions.json` says, which `--write` writes anew. Each
step runs with two numbers of tokens; start-up and imports cancel out.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.steps import STEPS

KEPT = Path(__file__).with_name("instructions.json")
ALLOWED = 1.1
FEW, MANY = 500, 2500
VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
RUN = "import sys; from benchmarks.steps import STEPS; STEPS[sys.argv[1]][1]()(int(sys.argv[2]))"


def counted(step: str, tokens: int) -> int:
    argv = [*VALGRIND, sys.executable, "-c", RUN, step, str(tokens)]
    fixed = {**os.environ, "PYTHONHASHSEED": "0"}
    said = subprocess.run(argv, env=fixed, capture_output=True, text=True, check=True).stderr
    found = re.search(r"I\s+refs:\s+([\d,]+)", said)
    assert found, said
    return int(found[1].replace(",", ""))


def per_token(step: str) -> int:
    return round((counted(step, MANY) - counted(step, FEW)) / (MANY - FEW))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep what is counted now")
    options = parser.parse_args()
    now = {step: per_token(step) for step in STEPS if step.startswith("Sluice")}
    version = ".".join(platform.python_version_tuple()[:2])
    if options.write:
        KEPT.write_text(json.dumps({"python": version, "instructions": now}, indent=1) + "\n")
    kept = json.loads(KEPT.read_text())
    if kept["python"] != version:
        print(f"Kept for Python {kept['python']}, this is {version}: nothing to compare.")
        return 0
    worse = 0
    for step, count in now.items():
        before = kept["instructions"].get(step, count)
        print(f"{step}: {count:,} instructions per token, {count / before - 1:+.1%}")
        worse += count > before * ALLOWED
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
