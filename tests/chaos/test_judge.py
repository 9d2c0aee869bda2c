"""The judge is judged by a small recording that was made by hand: a job, two attempts, a reader."""

import copy
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.judge import judge
from tests.chaos.record import Line
from tests.chaos.upstream import question
from tests.chaos.verdict import Verdict
from tests.live.worker import Worker

FIRST, SECOND = "[1.1] a b c ", "[1.2] x y "
QUEUED = {"stage": "queued", "status": "completed", "progress": 0}
DONE = {
    "status": "completed",
    "path": "A2",
    "answer": SECOND,
    "length": len(SECOND),
    "sha256": sha256(SECOND.encode()).hexdigest(),
}
Change = Callable[[Line], Any]
Judged = Callable[..., Verdict]
HERE, THERE = 8001, 8002
KILLED: Line = {
    "kind": "disturbed",
    "who": "worker-0",
    "how": "SIGKILL",
    "at": 10.0,
    "until": 14.0,
    "jobs": ["job"],
}
VISIT: Line = {
    "kind": "subscription",
    "job": "job",
    "reader": "1/0",
    "port": HERE,
    "after": None,
    "status": 200,
    "properly": True,
    "retries": [1000],
    "left": False,
    "cut": None,
    "begun": 9.0,
    "arrived": [9.5, 9.75, 16.0, 16.25],
    "over": 16.5,
    "frames": [
        ["stage", "1-1", QUEUED],
        ["token", "1-2", {"content": FIRST[:8], "node": "answer"}],
        ["reset", "2-1", {"reason": "new_attempt"}],
        ["stage", "2-2", QUEUED],
        ["token", "2-3", {"content": SECOND, "node": "answer"}],
        ["done", "2-4", DONE],
    ],
}
KEPT: Line = {
    "kind": "kept",
    "job": "job",
    "view": {
        "status": "completed",
        "answer": SECOND,
        "partial": None,
        "error": None,
        "last_event_id": "2-4",
    },
    "chat": {
        "items": [
            {"role": "user", "content": question(1), "status": "completed"},
            {"role": "assistant", "content": SECOND, "status": "completed"},
        ],
        "active_job_id": None,
    },
}
RECORDING: list[Line] = [
    {"kind": "job", "job": "job", "number": 1, "path": "A2"},
    {"kind": "said", "number": 1, "call": 1, "text": FIRST, "fault": None},
    {"kind": "said", "number": 1, "call": 2, "text": SECOND, "fault": None},
    VISIT,
    KILLED,
    KEPT,
    {"kind": "sent", "number": 1, "call": 1, "pieces": 3},
    {"kind": "sent", "number": 1, "call": 2, "pieces": 9},
    {"kind": "end", "left": {"tasks": 0}},
]


@pytest.fixture
def judged(tmp_path: Path) -> Judged:
    """Of the recording with lines beside it, each as `change` makes it."""

    def judged(*more: Line, change: Change = lambda line: None) -> Verdict:
        told = copy.deepcopy([*RECORDING[:-1], *more, RECORDING[-1]])
        for line in told:
            change(line)
        path = tmp_path / "recording.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in told), encoding="utf-8")
        return judge(path)

    return judged


def of(kind: str, change: Change) -> Change:
    return lambda line: line["kind"] == kind and change(line)


def test_what_is_as_it_should_be_passes_with_its_figures(judged: Judged) -> None:
    verdict = judged()
    assert verdict.faults == []
    assert verdict.silences == {"SIGKILL worker": [6.0]}
    assert (verdict.wasted, verdict.counts["sent"]) == (3, 12)
    told = verdict.text()
    assert "1 of 1 jobs exact (1 done)" in told
    assert "SIGKILL worker: p50 6.00 s, p99 6.00 s (1 readers)" in told
    assert "upstream tokens wasted: 3 of 12 (25.0 %)" in told
    assert "left over: nothing" in told


REFUSED: dict[str, Change] = {
    "an attempt that nothing had cost": of("disturbed", lambda it: it.update(jobs=[])),
    "an attempt lost to what came after the end": of("disturbed", lambda it: it.update(at=17.0)),
    "a chat that keeps another attempt's answer": of(
        "kept", lambda it: it["chat"]["items"][1].update(content=FIRST)
    ),
    "a chat that keeps an answer as what it was not": of(
        "kept", lambda it: it["chat"]["items"][1].update(status="cancelled")
    ),
    "a chat without the answer": of("kept", lambda it: it["chat"]["items"].pop()),
    "a chat with the question twice": of(
        "kept", lambda it: it["chat"]["items"].insert(0, it["chat"]["items"][0])
    ),
    "a chat that still waits": of("kept", lambda it: it["chat"].update(active_job_id="job")),
    "a job of another status": of("kept", lambda it: it["view"].update(status="failed")),
    "a job of another answer": of("kept", lambda it: it["view"].update(answer=FIRST)),
    "a job with another end": of("kept", lambda it: it["view"].update(last_event_id="1-4")),
    "a job that nobody looked at": of("kept", lambda it: it.update(kind="run")),
    "a cut body whose gateway lived": of("subscription", lambda it: it.update(properly=False)),
    "something left over": of("end", lambda it: it["left"].update({"key sluice:x": 1})),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_judge_refuses(judged: Judged, what: str) -> None:
    assert len(judged(change=REFUSED[what]).faults) == 1


def early(line: Line) -> None:
    """The first attempt's half of it, ended without a word."""
    line.update(frames=line["frames"][:2], arrived=line["arrived"][:2], cut=9.8, over=9.8)


def late() -> Line:
    """The rest, by another gateway."""
    rest = {"frames": VISIT["frames"][2:], "arrived": [16.0, 16.25], "begun": 10.5}
    return {**VISIT, **rest, "port": THERE, "after": "1-2"}


def first_visit(change: Change) -> Change:
    return lambda line: line.get("port") == HERE and line["kind"] == "subscription" and change(line)


def test_a_body_that_ends_early_must_say_to_come_back(judged: Judged) -> None:
    assert judged(late(), change=first_visit(early)).faults == [
        "job job (number 1): reader 1/0: a body ended early, and said nothing about coming back"
    ]

    def told(line: Line) -> None:
        early(line)
        line.update(retries=[1000, 2345])

    assert judged(late(), change=first_visit(told)).faults == []


def killed(port: int) -> Line:
    return {**KILLED, "who": "gateway-0", "at": 9.75, "until": 12.0, "port": port, "jobs": []}


def test_only_a_kill_of_its_own_gateway_may_cut_a_body(judged: Judged) -> None:
    def cut(line: Line) -> None:
        early(line)
        line.update(properly=False)

    assert len(judged(late(), killed(THERE), change=first_visit(cut)).faults) == 1
    assert judged(late(), killed(HERE), change=first_visit(cut)).faults == []


def at(when: float) -> Change:
    """The worker was killed then."""
    return lambda line: line.get("who") == "worker-0" and line.update(at=when)


FROZEN = {**KILLED, "who": "redis", "how": "SIGSTOP", "at": 10.5, "jobs": []}


def test_a_gateway_concerns_its_own_readers(judged: Judged) -> None:
    assert judged(killed(HERE), change=at(8.0)).silences == {"SIGKILL gateway": [6.25]}
    assert judged(killed(THERE), change=at(8.0)).silences == {}


def test_redis_concerns_every_reader(judged: Judged) -> None:
    assert judged(FROZEN, change=at(8.0)).silences == {"SIGSTOP redis": [5.5]}


def test_a_worker_concerns_the_readers_of_its_jobs_and_accounts_for_their_silence(
    judged: Judged,
) -> None:
    verdict = judged(FROZEN, killed(HERE), AGAIN | {"jobs": ["another"], "at": 10.25})
    assert verdict.silences == {"SIGKILL worker": [6.0]}


def test_a_silence_is_not_due_to_what_comes_in_the_middle_of_it(judged: Judged) -> None:
    assert judged(FROZEN | {"at": 12.0}).silences == {"SIGKILL worker": [6.0]}


def third_time(end: str, data: Line) -> Change:
    """The job is given up: its third attempt says only how it ends."""

    def change(line: Line) -> None:
        match line["kind"]:
            case "subscription":
                heads = [["reset", "3-1", {"reason": "new_attempt"}], ["stage", "3-2", QUEUED]]
                line["frames"][-1:] = [*heads, [end, "3-3", data]]
            case "kept":
                line["view"].update(last_event_id="3-3")
                if end == "error":
                    line["view"].update(status="failed", answer=None, error={"code": data["code"]})
                    line["chat"]["items"].pop()

    return change


LOST = {"status": "failed", "code": "worker_lost"}
AGAIN = {**KILLED, "who": "worker-1", "at": 16.1, "until": 20.0}


def test_a_job_is_given_up_only_when_two_workers_were_lost(judged: Judged) -> None:
    verdict = judged(AGAIN, change=third_time("error", LOST))
    assert (verdict.faults, verdict.wasted) == ([], 12)
    (fault,) = judged(change=third_time("error", LOST)).faults
    assert fault.endswith("what happened to its workers was ['SIGKILL worker']")


def test_a_job_that_two_workers_lost_is_given_up(judged: Judged) -> None:
    faults = judged(AGAIN, change=third_time("done", DONE)).faults
    assert "job job (number 1): it was tried too often" in faults


def test_a_job_that_a_leaving_worker_handed_back_may_be_tried_once_more(judged: Judged) -> None:
    faults = judged(AGAIN | {"how": "SIGTERM"}, change=third_time("done", DONE)).faults
    assert "job job (number 1): it was tried too often" not in faults


def test_a_silence_longer_than_its_faults_explain_is_one(judged: Judged) -> None:
    def after(seconds: float) -> Change:
        heard = [9.5, 9.75, 10.0 + seconds]
        return of("subscription", lambda visit: visit.update(arrived=heard))

    assert judged(change=after(14.9)).faults == []
    (fault,) = judged(change=after(15.1)).faults
    assert "reader 1/0: silent for 15.1 s, with 1 faults" in fault
    assert judged(FROZEN | {"at": 12.0}, change=after(29.9)).faults == []


def test_a_worker_has_a_job_that_it_has_taken_from_itself(tmp_path: Path) -> None:
    """A frozen one does, when it wakes up; one that another has taken is that one's."""
    worker = Worker(tmp_path / "log", {})
    worker.log.write_text(
        "job a is taken, job b is taken, job c is taken, job a is taken,"
        " job a is another worker's now, job b is another worker's now"
    )
    assert worker.jobs() == ["a", "c"]
