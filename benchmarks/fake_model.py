"""The fake model's answers: what they look like, at what pace, and the one timer they share."""

import asyncio
import json
from math import log
from random import Random

from benchmarks.stamp import now_us, token

SLOT_S = 0.001
FIRST_S = 0.3
LENGTH = log(150), (2 * log(225 / 150)) ** 0.5
"""Of a mixed load's answers, lognormal: median 150 tokens, mean 225."""
BATCH = 32
CHUNK = (
    '{"id":"chatcmpl-benchmark","object":"chat.completion.chunk","created":1760000000,'
    '"model":"m","service_tier":"default","system_fingerprint":"fp_benchmark","choices":%s}'
)
CHOICE = '[{"index":0,"delta":%s,"logprobs":null,"finish_reason":%s}]'
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def sse(data: str) -> bytes:
    return b"data: " + data.encode() + b"\n\n"


def http_chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


BEFORE, AFTER = sse(CHUNK % CHOICE % ('{"content":"@"}', "null")).split(b"@")
ROLE = http_chunk(sse(CHUNK % CHOICE % ('{"role":"assistant","content":""}', "null")))
STOP = http_chunk(sse(CHUNK % CHOICE % ("{}", '"stop"')))
END = http_chunk(sse("[DONE]")) + b"0\r\n\r\n"


def end(tokens: int, usage: bool) -> bytes:
    """What closes a stream, with the usage if it was asked for."""
    count = f'"prompt_tokens":10,"completion_tokens":{tokens},"total_tokens":{tokens + 10}'
    told = http_chunk(sse(CHUNK[:-1] % "[]" + f',"usage":{{{count}}}}}')) if usage else b""
    return STOP + told + END


def streamed(text: str, usage: bool) -> bytes:
    """A whole answer at once, as a stream: no token of a load."""
    delta = json.dumps({"content": text})
    return STREAM_HEAD + ROLE + http_chunk(sse(CHUNK % CHOICE % (delta, "null"))) + end(1, usage)


class Wheel:
    """Gives every answer one slot of the pace's interval; a late tick catches up, none drifts."""

    def __init__(self, pace: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._slots: list[set[Answer]] = [set() for _ in range(max(1, round(pace / SLOT_S)))]
        self._home: dict[Answer, int] = {}
        self._turn = 0
        self._position = 0
        self._due = 0.0
        self._ticking = False

    def join(self, answer: "Answer") -> None:
        if not self._ticking:
            self._ticking = True
            self._due = self._loop.time() + SLOT_S
            self._loop.call_at(self._due, self._tick)
        self._turn = (self._turn + 1) % len(self._slots)
        self._slots[self._turn].add(answer)
        self._home[answer] = self._turn

    def leave(self, answer: "Answer") -> None:
        slot = self._home.pop(answer, None)
        if slot is not None:
            self._slots[slot].discard(answer)

    def _tick(self) -> None:
        # uvloop's timers round to a millisecond: waiting for less than half of one would spin.
        now = self._loop.time() + SLOT_S / 2
        while self._due <= now:
            self._position = (self._position + 1) % len(self._slots)
            for answer in tuple(self._slots[self._position]):
                answer.speak(1)
            self._due += SLOT_S
        self._ticking = bool(self._home)
        if self._ticking:
            self._loop.call_at(self._due, self._tick)


class Model:
    """What the answers to come look like, and the count of those under way.

    `pace` in seconds: 0 as fast as the reader takes it, negative none until it is set anew. A new
    pace is that of the paced answers under way, too. `tokens` 0: until `/finish`.

    `mixed`: answers of lengths as people get them, each with its first token after `FIRST_S` and
    then a Poisson process of its own around the pace; to their own end.
    """

    def __init__(self, pace: float, tokens: int, text: bytes) -> None:
        self.text = text
        self.sent = 0
        self.open: set[Answer] = set()
        self.random = Random(1)
        self.set(pace, tokens)

    def set(self, pace: float, tokens: int, *, mixed: bool = False) -> None:
        self.pace, self.tokens, self.mixed = pace, tokens, mixed
        self.wheel = Wheel(pace) if pace > 0 else None
        for answer in tuple(self.open):
            answer.keep_pace()

    def finish(self) -> None:
        """Ends what is open, and lets what is asked for later end after a token."""
        self.set(0, 1)
        for answer in tuple(self.open):
            answer.end()

    def abort(self) -> None:
        for answer in tuple(self.open):
            answer.transport.abort()

    def stats(self) -> dict[str, int]:
        return {"sent": self.sent, "open": len(self.open), "at_us": now_us()}


class Answer:
    def __init__(self, model: Model, transport: asyncio.Transport, usage: bool) -> None:
        self.transport = transport
        self._model = model
        self._usage = usage
        self._sequence = 0
        self._limit = 0
        self._wheel: Wheel | None = None
        self._unpaced = self._pumping = self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        model.open.add(self)
        transport.write(STREAM_HEAD + ROLE)
        self.keep_pace()

    def keep_pace(self) -> None:
        if self._unpaced or self._timer or self._model.pace < 0:
            return
        if self._model.mixed:
            self._limit = max(1, round(self._model.random.lognormvariate(*LENGTH)))
            self._rate = 1 / self._model.pace
            self._speak_at(asyncio.get_running_loop().time() + FIRST_S)
            return
        if self._wheel:
            if self._model.wheel:
                self._wheel.leave(self)
                self._wheel = self._model.wheel
                self._wheel.join(self)
            return
        self._wheel, self._unpaced = self._model.wheel, self._model.pace == 0
        self._limit = self._model.tokens
        if self._unpaced:
            self._pump()
            return
        self.speak(1)
        if self._wheel and self in self._model.open:
            self._wheel.join(self)

    def speak(self, tokens: int) -> None:
        at, text, first = now_us(), self._model.text, self._sequence
        last = min(first + tokens, self._limit) if self._limit else first + tokens
        self.transport.write(
            b"".join(
                http_chunk(BEFORE + token(text, sequence, at) + AFTER)
                for sequence in range(first, last)
            )
        )
        self._sequence = last
        self._model.sent += last - first
        if last == self._limit:
            self.end()

    def _speak_at(self, due: float) -> None:
        self._timer = asyncio.get_running_loop().call_at(due, self._speak_one, due)

    def _speak_one(self, due: float) -> None:
        self.speak(1)
        if self in self._model.open:
            self._speak_at(due + self._model.random.expovariate(self._rate))

    def _pump(self) -> None:
        self._pumping = not self._paused and self in self._model.open
        if self._pumping:
            self.speak(BATCH)
            asyncio.get_running_loop().call_soon(self._pump)

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        if self._unpaced and not self._pumping:
            self._pump()

    def end(self) -> None:
        self.leave()
        self.transport.write(end(self._sequence, self._usage))

    def leave(self) -> None:
        self._model.open.discard(self)
        if self._timer:
            self._timer.cancel()
        if self._wheel:
            self._wheel.leave(self)
