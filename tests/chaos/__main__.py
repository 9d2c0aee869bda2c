"""`python -m tests.chaos --seconds 60 --seed N`, or `--judge FILE` to judge a run again.

With `--cluster` it is two gateways and two workers over a Redis and a PostgreSQL of their own.
"""

import argparse
import asyncio
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

from tests.chaos.cluster import distributed
from tests.chaos.embedded import embedded
from tests.chaos.judge import judge
from tests.chaos.run import Opened, run
from tests.services import PostgresServer, durable_redis, found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--cluster", action="store_true", help="two gateways, two workers")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the recording and the logs are kept")
    parser.add_argument("--judge", type=Path, metavar="FILE", help="judge this recording again")
    given = parser.parse_args()
    for program in ("redis-server", "initdb"):
        if given.cluster and found(program) is None:
            parser.error(f"there is no {program}")
    recorded = given.judge or _recorded(given)
    verdict = judge(recorded)
    print(verdict.text())
    return 1 if verdict.faults else 0


def _recorded(given: argparse.Namespace) -> Path:
    folder = given.folder or Path(tempfile.mkdtemp(prefix="sluice-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    for store in folder.glob("sluice.db*"):  # an earlier run's: its keys would be known
        store.unlink()
    with ExitStack() as stores:
        opened: Opened = embedded
        if given.cluster:
            redis = stores.enter_context(closing(durable_redis()))
            opened = distributed(redis, stores.enter_context(closing(PostgresServer())))
        recorded = asyncio.run(run(folder, given.seed, given.seconds, _progress, opened))
    print(f"\nseed {given.seed}, {given.seconds:g} s, recorded in {recorded}")
    return recorded


def _progress(text: str) -> None:
    end = "\r" if sys.stderr.isatty() else "\n"
    print(f"\033[K{text}" if end == "\r" else text, end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
