"""A recording as the judge reads it: what happened to whom, and what became of each job."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos.record import Line, lines

TERMINAL = ("done", "error", "cancelled")
_SEEN_WITHIN = 1.0
"""Seconds until a reader has seen that its peer is gone."""
_WORST = ("worker", "gateway", "service", "redis", "postgres")
_BEFORE, _AFTER = 1.0, 2.0
"""Seconds around a disturbance in which the silence that is due to it begins."""


@dataclass(slots=True)
class Story:
    """A job as the recording has it."""

    job: str
    number: int
    path: str
    calls: list[Line]
    cancelled: bool = False
    readers: dict[str, list[Line]] = field(default_factory=lambda: defaultdict(list))
    kept: Line | None = None

    @property
    def visits(self) -> Iterator[Line]:
        for visits in self.readers.values():
            yield from visits

    @property
    def ended(self) -> float:
        """When the first reader saw the end."""
        seen: list[float] = [v["arrived"][-1] for v in self.visits if ends(v["frames"])]
        return min(seen)


@dataclass(frozen=True, slots=True)
class Disturbance:
    """`who` is `gateway-0` for one; `port` a gateway's, `jobs` what a worker had then."""

    who: str
    how: str
    at: float
    until: float
    port: int | None = None
    jobs: frozenset[str] = frozenset()

    @property
    def kind(self) -> str:
        return f"{self.how} {self.what}"

    @property
    def what(self) -> str:
        return self.who.partition("-")[0]

    def cuts(self, visit: Line) -> bool:
        """It may have ended that visit's body anyhow."""
        killed = self.how == "SIGKILL" and self.port == visit["port"]
        return killed and self.at <= visit["over"] <= self.until + _SEEN_WITHIN

    def costs(self, story: Story) -> bool:
        """It may have cost the job an attempt."""
        hit = self.what == "service" or story.job in self.jobs
        return hit and self.at < story.ended

    def concerns(self, story: Story, visits: Sequence[Line]) -> bool:
        """The reader was there, and read what it hit."""
        if self.port is not None:
            return any(
                visit["port"] == self.port and visit["begun"] <= self.at <= visit["over"]
                for visit in visits
            )
        return self.what in ("redis", "postgres") or self.costs(story)


class Silence(NamedTuple):
    """Of a reader of tokens; `met` faults were done to what served him meanwhile."""

    seconds: float
    cause: Disturbance
    met: int


def silences(
    story: Story, visits: Sequence[Line], disturbances: Sequence[Disturbance]
) -> Iterator[Silence]:
    """Those that began with a fault. Of several during one it is due to the worst."""
    heard = sorted(time for visit in visits for time in visit["arrived"])
    times = [visits[0]["begun"], *heard]
    met = [each for each in disturbances if times[0] <= each.at < times[-1]]
    met = [each for each in met if each.concerns(story, visits)]
    for begin, end in pairwise(times if met and story.path == "A2" else ()):
        during = [each for each in met if begin - _AFTER <= each.at < end]
        if any(each.at <= begin + _BEFORE for each in during):
            cause = min(during, key=lambda each: (_WORST.index(each.what), each.at))
            yield Silence(end - max(begin, cause.at), cause, len(during))


@dataclass(slots=True)
class Run:
    stories: dict[str, Story] = field(default_factory=dict)
    disturbances: list[Disturbance] = field(default_factory=list)
    sent: dict[tuple[int, int], int] = field(default_factory=dict)
    """Pieces that left in each call."""
    left: dict[str, float] | None = None
    """None: the run did not get that far."""


def read(path: Path) -> Run:
    run = Run()
    said: dict[int, list[Line]] = defaultdict(list)
    for line in lines(path):
        match line.pop("kind"):
            case "job":
                number = line["number"]
                run.stories[line["job"]] = Story(**line, calls=said[number])
            case "said":
                said[line["number"]].append(line)
            case "sent":
                run.sent[line["number"], line["call"]] = line["pieces"]
            case "cancel":
                run.stories[line["job"]].cancelled = True
            case "subscription":
                run.stories[line["job"]].readers[line["reader"]].append(line)
            case "kept":
                run.stories[line["job"]].kept = line
            case "disturbed":
                jobs = frozenset(line.pop("jobs", ()))
                run.disturbances.append(Disturbance(**line, jobs=jobs))
            case "end":
                run.left = line["left"]
    return run


def ends(frames: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
    return [frame for frame in frames if frame[0] in TERMINAL]


def place(event_id: str) -> tuple[int, int]:
    attempt, seq = event_id.split("-")
    return int(attempt), int(seq)
