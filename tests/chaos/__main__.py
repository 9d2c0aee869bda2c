"""`python -m tests.chaos --seconds 60 --seed N`, or `--judge FILE` to judge a run again."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.chaos.embedded import run
from tests.chaos.judge import judge


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the recording and the logs are kept")
    parser.add_argument("--judge", type=Path, metavar="FILE", help="judge this recording again")
    given = parser.parse_args()
    recorded = given.judge
    if recorded is None:
        folder = given.folder or Path(tempfile.mkdtemp(prefix="sluice-chaos-"))
        folder.mkdir(parents=True, exist_ok=True)
        for store in folder.glob("sluice.db*"):  # an earlier run's: its keys would be known
            store.unlink()
        recorded = asyncio.run(run(folder, given.seed, given.seconds, _progress))
        print(f"\nseed {given.seed}, {given.seconds:g} s, recorded in {recorded}")
    verdict = judge(recorded)
    print(verdict.text())
    return 1 if verdict.faults else 0


def _progress(text: str) -> None:
    end = "\r" if sys.stderr.isatty() else "\n"
    print(f"\033[K{text}" if end == "\r" else text, end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
