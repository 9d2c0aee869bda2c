"""Judges a recorded run. Everything it says comes from the recording alone."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.chaos.reading import JOINED, Reading
from tests.chaos.story import Disturbance, Run, Story, ends, place, read, silences
from tests.chaos.upstream import question
from tests.chaos.verdict import Verdict

CODES = {
    "server_error": "upstream_unavailable",
    "rate_limited_briefly": "upstream_rate_limited",
    "unauthorized": "upstream_auth",
    "reset_before_answer": "upstream_unavailable",
    "hang_before_status": "upstream_timeout",
    "hang_mid_stream": "upstream_timeout",
    "reset_mid_stream": "upstream_disconnected",
    "cut_mid_chunk": "upstream_disconnected",
    "proper_end_half_way": "upstream_truncated",
    "malformed_json": "upstream_bad_response",
    "error_chunk": "upstream_error",
    "html_with_200": "upstream_bad_response",
}
RETRIED = ("server_error", "rate_limited_briefly", "reset_before_answer")
"""The waits between the tries may also use up the time for the first token."""
MAX_ATTEMPTS = 2
SILENCE = 15
"""Seconds, for each fault that a reader met meanwhile."""
HUNG = 5
"""Seconds more, for each call that failed: the longest of the run's deadlines."""
STATUS = {"done": "completed", "error": "failed", "cancelled": "cancelled"}


def judge(path: Path) -> Verdict:
    run, verdict = read(path), Verdict()
    verdict.counts["jobs"] = len(run.stories)
    verdict.counts["sent"] = sum(run.sent.values())
    for disturbance in run.disturbances:
        verdict.disturbed[disturbance.kind] += 1
    for job, story in run.stories.items():
        found = _of(story, run, verdict)
        faults = [f"job {job} (number {story.number}): {fault}" for fault in found]
        verdict.counts["inexact"] += bool(faults)
        verdict.faults += faults
    if not run.stories:
        verdict.faults.append("there was no job")
    verdict.faults += _left_over(run)
    return verdict


def _of(story: Story, run: Run, verdict: Verdict) -> Iterator[str]:
    last = {str(frame): frame for visit in story.visits for frame in ends(visit["frames"])}
    if len(last) != 1:
        yield f"{len(last)} terminal events: {list(last)}"
        return
    (end,) = last.values()
    verdict.ends[end[0]] += 1
    yield from _end(story, end)
    yield from _attempts(story, end, run)
    yield from _ids(story)
    texts = set()
    hung = HUNG * sum(call["fault"] is not None for call in story.calls)
    for reader, visits in story.readers.items():
        reading = Reading(run.disturbances)
        for visit in visits:
            yield from (f"reader {reader}: {fault}" for fault in reading.take(visit))
        verdict.counts["subscriptions"] += len(visits)
        verdict.counts["cuts"] += sum(visit["cut"] is not None for visit in visits)
        verdict.counts["unknown"] += reading.unknown
        longest: dict[Disturbance, float] = {}
        for seconds, cause, met in silences(story, visits, run.disturbances):
            longest[cause] = max(longest.get(cause, 0), seconds)
            if seconds > met * SILENCE + hung:
                yield f"reader {reader}: silent for {seconds:.1f} s, with {met} faults"
        for cause, seconds in longest.items():
            verdict.silences[cause.kind].append(seconds)
        if not ends(visits[-1]["frames"]) and visits[-1]["status"] != 204:
            yield f"reader {reader} never saw the end"
        texts.add("".join(reading.pieces))
    if len(texts) != 1:
        yield f"its readers have {len(texts)} different texts"
    text = texts.pop()
    yield from _text(story, end, text)
    yield from _kept(story, end, text)
    if (call := _useful(story, end, text)) is not None:
        verdict.counts["useful"] += run.sent.get((story.number, call), 0)


def _end(story: Story, end: Sequence[Any]) -> Iterator[str]:
    name, event_id, data = end
    faults = [call["fault"] for call in story.calls if call["fault"]]
    allowed = {CODES[fault] for fault in faults}
    if set(faults) & set(RETRIED):
        allowed.add("upstream_timeout")
    if place(event_id)[0] > MAX_ATTEMPTS:
        allowed.add("worker_lost")
    match name:
        case "done":
            answer = data["answer"]
            if answer not in {call["text"] for call in story.calls if not call["fault"]}:
                yield "the answer is nothing that the upstream said"
            if data["sha256"] != sha256(answer.encode()).hexdigest():
                yield "sha256 is another text's"
            if data["length"] != len(answer) or data["path"] != story.path:
                yield "done says a wrong length or path"
        case "error" if data["code"] not in allowed:
            yield f"{data['code']}, but what happened to it was {faults}"
        case "cancelled" if not (story.cancelled and data["reason"] == "user"):
            yield f"cancelled ({data['reason']}), and nobody asked for that"


def _attempts(story: Story, end: Sequence[Any], run: Run) -> Iterator[str]:
    """A worker that is told to leave hands back its jobs: at best that costs none of the tries."""
    name, event_id, data = end
    attempts = place(event_id)[0]
    cost = [each.kind for each in run.disturbances if each.costs(story)]
    if attempts > 1 + len(cost):
        yield f"it took {attempts} attempts, but what happened to its workers was {cost}"
    given_up = name == "cancelled" or data.get("code") == "worker_lost"
    if attempts > MAX_ATTEMPTS + cost.count("SIGTERM worker") and not given_up:
        yield "it was tried too often"


def _text(story: Story, end: Sequence[Any], text: str) -> Iterator[str]:
    if story.path == "A1":
        if text:
            yield "A1 has said tokens"
    elif end[0] == "done":
        if text != end[2]["answer"]:
            yield "the text is not the answer"
    elif not any(call["text"].startswith(text) for call in story.calls) and text:
        yield "the text is nothing that the upstream began to say"


def _kept(story: Story, end: Sequence[Any], text: str) -> Iterator[str]:
    """What the job and its chat say afterwards is what its readers were told."""
    if story.kept is None:
        yield "nobody looked at what was kept of it"
        return
    name, event_id, data = end
    view, chat = story.kept["view"], story.kept["chat"]
    answer = data["answer"] if name == "done" else None
    told = {
        "status": STATUS[name],
        "answer": answer,
        "partial": (text or None) if answer is None else None,
        "error": data["code"] if name == "error" else None,
        "last_event_id": event_id,
    }
    says = {key: view[key] for key in told} | {"error": (view["error"] or {}).get("code")}
    if says != told:
        yield f"the job says {says}, its end was {told}"
    items = [(item["role"], item["content"], item["status"]) for item in chat["items"]]
    asked, said = ("user", question(story.number), "completed"), answer or text
    if items != [asked, ("assistant", said, STATUS[name])][: 1 + bool(said)]:
        yield f"the chat has {items}, but what was said is {said!r} ({STATUS[name]})"
    if chat["active_job_id"] is not None:
        yield "the chat still waits for an answer"


def _useful(story: Story, end: Sequence[Any], text: str) -> int | None:
    """The call whose text was not thrown away."""
    said = end[2]["answer"] if end[0] == "done" else text
    if said:
        return next((each["call"] for each in story.calls if each["text"].startswith(said)), None)
    if story.path == "A2" or end[2].get("code") == "worker_lost" or not story.calls:
        return None
    last: int = story.calls[-1]["call"]
    return last


def _ids(story: Story) -> Iterator[str]:
    """No id names two events; a joined token ends as the one does whose id it has."""
    known: dict[str, tuple[str, Any]] = {}
    for visit in story.visits:
        for name, event_id, data in visit["frames"]:
            if data.get("reason") == "cursor_unknown":
                continue
            was, had = known.setdefault(event_id, (name, data))
            if name == was and name in JOINED:
                one, other = data["content"], had["content"]
                same = one.endswith(other) or other.endswith(one)
            else:
                same = (name, data) == (was, had)
            if not same:
                yield f"{event_id} names two events"


def _left_over(run: Run) -> Iterator[str]:
    if run.left is None:
        yield "the recording has no end"
        return
    for what, count in run.left.items():
        if count:
            yield f"left over: {count:g} {what}"
