"""Judges a recorded run. Everything it says comes from the recording alone."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.chaos.record import Line, lines
from tests.chaos.verdict import Verdict

_KILLED_WITHIN = 1.0
"""Seconds until a reader has seen that its peer is gone."""
TERMINAL = ("done", "error", "cancelled")
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


@dataclass(slots=True)
class Story:
    """A job as the recording has it."""

    number: int
    path: str
    calls: list[Line] = field(default_factory=list)
    cancelled: bool = False
    readers: dict[str, list[Line]] = field(default_factory=lambda: defaultdict(list))

    @property
    def visits(self) -> Iterator[Line]:
        for visits in self.readers.values():
            yield from visits


def judge(path: Path) -> Verdict:
    stories: dict[str, Story] = {}
    said: dict[int, list[Line]] = defaultdict(list)
    verdict = Verdict()
    last: Line = {}
    for last in lines(path):
        match last["kind"]:
            case "job":
                stories[last["job"]] = Story(last["number"], last["path"], said[last["number"]])
            case "said":
                said[last["number"]].append(last)
            case "cancel":
                stories[last["job"]].cancelled = True
            case "subscription":
                stories[last["job"]].readers[last["reader"]].append(last)
            case "disturbed":
                verdict.counts[f"disturbed {last['how']}"] += 1
                if last["how"] == "SIGKILL":
                    verdict.kills.append(last["at"])
    verdict.counts["jobs"] = len(stories)
    for job, story in stories.items():
        faults = [f"job {job} (number {story.number}): {fault}" for fault in _of(story, verdict)]
        verdict.counts["inexact"] += bool(faults)
        verdict.faults += faults
    if not stories:
        verdict.faults.append("there was no job")
    verdict.faults += _left_over(last)
    return verdict


def _of(story: Story, verdict: Verdict) -> Iterator[str]:
    ends = {str(frame): frame for visit in story.visits for frame in _ends(visit["frames"])}
    if len(ends) != 1:
        yield f"{len(ends)} terminal events: {list(ends)}"
        return
    (end,) = ends.values()
    verdict.ends[end[0]] += 1
    yield from _end(story, end)
    yield from _ids(story)
    texts = set()
    for reader, visits in story.readers.items():
        reading = Reading(verdict.kills)
        for visit in visits:
            yield from (f"reader {reader}: {fault}" for fault in reading.take(visit))
        verdict.counts["subscriptions"] += len(visits)
        verdict.counts["cuts"] += sum(visit["cut"] is not None for visit in visits)
        verdict.counts["unknown"] += reading.unknown
        verdict.silences += reading.silences
        if not _ends(visits[-1]["frames"]) and visits[-1]["status"] != 204:
            yield f"reader {reader} never saw the end"
        texts.add("".join(reading.pieces))
    if len(texts) != 1:
        yield f"its readers have {len(texts)} different texts"
    yield from _text(story, end, texts.pop())


class Reading:
    """One reader's subscriptions, folded as a client does it; `kills` is when there were any."""

    def __init__(self, kills: Sequence[float]) -> None:
        self._kills = kills
        self.pieces: list[str] = []
        self.silences: list[float] = []
        self.unknown = 0
        self._last = (0, 0)
        self._ended = False
        self._cut: float | None = None

    def take(self, visit: Line) -> Iterator[str]:
        if visit["status"] not in (200, 204):
            yield f"status {visit['status']}"
        if visit["first"] is not None and self._cut is not None:
            self.silences.append(visit["first"] - self._cut)
            self._cut = None
        for name, event_id, data in visit["frames"]:
            yield from self._event(name, event_id, data)
        if self._ended and not (visit["properly"] or visit["left"] or self._killed(visit["over"])):
            yield "the body did not end properly after the terminal event"
        if visit["cut"] is not None:
            self._cut = self._cut or visit["cut"]
            if visit["properly"] and not visit["retries"]:
                yield "a body ended early, and said nothing about coming back"

    def _killed(self, at: float) -> bool:
        """Between the terminal event and the end of its body."""
        return any(0 <= at - kill <= _KILLED_WITHIN for kill in self._kills)

    def _event(self, name: str, event_id: str, data: Any) -> Iterator[str]:
        if self._ended:
            yield f"{name} after the terminal event"
        if data.get("reason") == "cursor_unknown":
            self.unknown += 1
            self.pieces.clear()
            self._last = (0, 0)
            return
        place = _place(event_id)
        same, first = place[0] == self._last[0], place[1] == 1
        if place <= self._last:
            yield f"{event_id} after {self._last}"
        elif name != "token" and (place[1] != self._last[1] + 1 if same else not first):
            yield f"{event_id} follows {self._last}"
        if not same and self._last != (0, 0) and name != "reset":
            yield f"attempt {place[0]} begins with {name}"
        self._last = place
        match name:
            case "token":
                self.pieces.append(data["content"])
            case "reset":
                self.pieces.clear()
        self._ended = name in TERMINAL


def _end(story: Story, end: Sequence[Any]) -> Iterator[str]:
    name, event_id, data = end
    faults = [call["fault"] for call in story.calls if call["fault"]]
    allowed = {CODES[fault] for fault in faults}
    if set(faults) & set(RETRIED):
        allowed.add("upstream_timeout")
    if _place(event_id)[0] > 2:
        allowed = {"worker_lost"}
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


def _text(story: Story, end: Sequence[Any], text: str) -> Iterator[str]:
    if story.path == "A1":
        if text:
            yield "A1 has said tokens"
    elif end[0] == "done":
        if text != end[2]["answer"]:
            yield "the text is not the answer"
    elif not any(call["text"].startswith(text) for call in story.calls) and text:
        yield "the text is nothing that the upstream began to say"


def _ids(story: Story) -> Iterator[str]:
    """No id names two events; a joined token ends as the one does whose id it has."""
    known: dict[str, tuple[str, Any]] = {}
    for visit in story.visits:
        for name, event_id, data in visit["frames"]:
            if data.get("reason") == "cursor_unknown":
                continue
            was, had = known.setdefault(event_id, (name, data))
            if name == was == "token":
                one, other = data["content"], had["content"]
                same = one.endswith(other) or other.endswith(one)
            else:
                same = (name, data) == (was, had)
            if not same:
                yield f"{event_id} names two events"


def _left_over(last: Line) -> Iterator[str]:
    if last.get("kind") != "end":
        yield "the recording has no end"
        return
    for what, count in last["left"].items():
        if count:
            yield f"left over: {count} {what}"


def _ends(frames: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
    return [frame for frame in frames if frame[0] in TERMINAL]


def _place(event_id: str) -> tuple[int, int]:
    attempt, seq = event_id.split("-")
    return int(attempt), int(seq)
