"""A short run with a fixed seed, and a judge that is judged: it must refuse what was doctored."""

import copy
import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.cluster import distributed
from tests.chaos.embedded import embedded
from tests.chaos.judge import judge
from tests.chaos.record import Line, lines
from tests.chaos.run import run
from tests.chaos.story import read
from tests.chaos.verdict import Verdict
from tests.services import PostgresServer, durable_redis, found, missing

SECONDS = 30 if os.environ.get("CI") == "true" else 15
IN_TIME = pytest.mark.timeout(SECONDS + 300)


@pytest.fixture(scope="module")
async def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One machine's run."""
    return await run(tmp_path_factory.mktemp("chaos"), 1, SECONDS, print, embedded)


@pytest.fixture(scope="module")
async def of_a_cluster(
    own_postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    if found("redis-server") is None:
        missing("redis-server")
    with closing(durable_redis()) as redis:
        cluster = distributed(redis, own_postgres)
        return await run(tmp_path_factory.mktemp("chaos-cluster"), 1, SECONDS, print, cluster)


@IN_TIME
async def test_every_job_is_exact_whatever_happens_to_it(recorded: Path) -> None:
    verdict = judge(recorded)
    assert verdict.faults == [], verdict.text()
    assert verdict.counts["jobs"] > SECONDS
    assert verdict.counts["cuts"] > 0
    assert set(verdict.ends) == {"done", "error", "cancelled"}


@IN_TIME
async def test_every_job_is_exact_whatever_happens_to_its_cluster(of_a_cluster: Path) -> None:
    verdict = judge(of_a_cluster)
    assert verdict.faults == [], verdict.text()
    assert verdict.counts["jobs"] > SECONDS / 2
    disturbed = {kind.split()[-1] for kind in verdict.disturbed}
    assert disturbed == {"gateway", "worker", "redis", "postgres"}


def _swapped(visit: Line) -> None:
    frames = visit["frames"]
    frames[-3], frames[-2] = frames[-2], frames[-3]


def _of_another_job(visit: Line) -> None:
    token = next(frame for frame in visit["frames"] if frame[0] == "token")
    token[2]["content"] = "[0.0] " + token[2]["content"]


def _resumed_too_early(visit: Line) -> None:
    visit["frames"] += copy.deepcopy(visit["frames"][-1:])


def _other_end(visit: Line) -> None:
    visit["frames"][-1] = ["cancelled", visit["frames"][-1][1], {"reason": "user"}]


DOCTORED: dict[str, Callable[[Line], Any]] = {
    "an event is missing": lambda visit: visit["frames"].pop(-2),
    "a token is missing": lambda visit: visit["frames"].remove(
        next(frame for frame in visit["frames"] if frame[0] == "token")
    ),
    "an event comes twice": _resumed_too_early,
    "two events have changed places": _swapped,
    "a text is another job's": _of_another_job,
    "the end is missing": lambda visit: visit["frames"].pop(),
    "the end is another one": _other_end,
    "the digest is another text's": lambda visit: visit["frames"][-1][2].update(sha256="0"),
    "the body has no proper end": lambda visit: visit.update(properly=False),
}


def whole(visit: Line) -> bool:
    """Its reader heard tokens and the answer's end."""
    names = [frame[0] for frame in visit.get("frames", ())]
    return visit.get("reader") != "last" and "token" in names and names[-1] == "done"


@pytest.fixture(scope="module")
def one_job(recorded: Path) -> list[Line]:
    """The lines of one job that no kill excuses, and those of none: sooner judged than all."""
    told = read(recorded)
    job, number = next(
        (story.job, story.number)
        for story in told.stories.values()
        if any(map(whole, story.visits))
        and not any(each.cuts(visit) for each in told.disturbances for visit in story.visits)
    )
    return [
        line
        for line in lines(recorded)
        if (line.get("job", job), line.get("number", number)) == (job, number)
    ]


@pytest.mark.parametrize("how", DOCTORED)
def test_the_judge_refuses_a_recording_in_which(
    one_job: list[Line], tmp_path: Path, how: str
) -> None:
    assert rejudged(one_job, tmp_path).faults == []
    told = copy.deepcopy(one_job)
    DOCTORED[how](next(filter(whole, told)))
    assert rejudged(told, tmp_path).faults


@pytest.mark.parametrize("what", ["tasks", "descriptors", "calls upstream", "jobs", "streams"])
def test_the_judge_refuses_a_run_that_leaves_something(
    one_job: list[Line], tmp_path: Path, what: str
) -> None:
    told = copy.deepcopy(one_job)
    told[-1]["left"][what] = 1
    assert rejudged(told, tmp_path).faults == [f"left over: 1 {what}"]
    assert rejudged(told[:-1], tmp_path).faults == ["the recording has no end"]


def rejudged(told: list[Line], folder: Path) -> Verdict:
    path = folder / "doctored.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in told), encoding="utf-8")
    return judge(path)
