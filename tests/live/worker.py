"""A worker in a process of its own, and what its log tells."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.live.process import Process

_TOLD = re.compile(r"job (\S+) is (taken|another worker's now)")


class Worker(Process):
    """`sluice worker`."""

    command = "worker"
    banner = re.compile(rb"metrics: +http://[^\s]+:(\d+)/metrics")

    def __init__(self, log: Path, settings: Mapping[str, str]) -> None:
        super().__init__(log, {"SLUICE_METRICS_PORT": "0", **settings})

    def started(self, said: re.Match[bytes]) -> None:
        self.port = int(said[1])

    def has(self, job: str) -> bool:
        """It took the job at some time."""
        return f"job {job} is taken" in self.log.read_text()

    def jobs(self) -> list[str]:
        """Those that it took in this life, or in the last one, and did not lose; over or not.

        One that has been frozen may take a job again before its first attempt learns that it has
        lost it.
        """
        taken = Counter[str]()
        for job, what in _TOLD.findall(self.life):
            taken[job] += 1 if what == "taken" else -1
        return [job for job, times in taken.items() if times > 0]
