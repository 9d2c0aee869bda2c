"""Reads a stream of server-sent events as far as measuring needs: tokens, stamps, the end."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.stamp import runs, stamps


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a server's stream is cut into frames, and how its last one begins.

    `checked`: the last frame is Sluice's `done` and says what the answer was.
    """

    gap: bytes
    last: tuple[bytes, ...]
    checked: bool = False


SLUICE = Dialect(b"\n\n", (b"event: done", b"event: error", b"event: cancelled"), checked=True)
PLAIN = Dialect(b"\n\n", (b"data: [DONE]",))
SSE_STARLETTE = Dialect(b"\r\n\r\n", (b"data: [DONE]",))
DIALECTS = {"sluice": SLUICE, "plain": PLAIN, "sse-starlette": SSE_STARLETTE}


class Reading:
    """One answer as it comes in. `seen` is told each token's lag in microseconds."""

    __slots__ = (
        "_dialect", "_digest", "_next", "_rest", "_runs", "_seen", "_stamps",
        "content_bytes", "fault", "gaps", "last", "repeats", "tokens",
    )  # fmt: skip

    def __init__(self, dialect: Dialect, text: bytes, seen: Callable[[int], None] | None) -> None:
        self._dialect = dialect
        self._runs, self._stamps = runs(text), stamps(text)
        self._seen = seen
        self._digest = hashlib.sha256()
        self._rest = b""
        self._next = 0
        self.tokens = self.content_bytes = self.gaps = self.repeats = 0
        self.last = b""
        self.fault = ""

    def feed(self, data: bytes, now_us: int) -> int:
        """Returns the number of tokens that `data` completed."""
        whole, gap, self._rest = (self._rest + data).rpartition(self._dialect.gap)
        if not gap:
            return 0
        for mark in self._dialect.last:
            at = whole.find(mark)
            if at >= 0:
                self.last = whole[at:]
                whole = whole[:at]
        before = self.tokens
        for run in self._runs.findall(whole):
            self._digest.update(run)
            self.content_bytes += len(run)
            self.tokens += run.count(b"<")
        if self._seen:
            self._follow(whole, now_us, self._seen)
        if self.last and self._dialect.checked:
            self.fault = self._check()
        return self.tokens - before

    def _follow(self, whole: bytes, now_us: int, seen: Callable[[int], None]) -> None:
        for sequence, at_us in self._stamps.findall(whole):
            number = int(sequence)
            if number > self._next:
                self.gaps += 1
            elif number < self._next:
                self.repeats += 1
            self._next = number + 1
            seen(now_us - int(at_us))

    def _check(self) -> str:
        """What `done` and the tokens disagree about. A1's tokens all come in `done`."""
        event, _, data = self.last.partition(b"\ndata: ")
        if event.split(b"\n")[0] != b"event: done":
            return json.loads(data).get("code", "cancelled")  # type: ignore[no-any-return]
        done = json.loads(data)
        if done["path"] == "A1":
            self._digest.update(done["answer"].encode())
            self.tokens = done["answer"].count("<")
        if self._digest.hexdigest() != done["sha256"]:
            return "sha256 differs"
        usage = done.get("usage")
        if usage and usage["output_tokens"] != self.tokens:
            return f"{usage['output_tokens'] - self.tokens} tokens missing"
        return ""
