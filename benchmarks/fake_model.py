"""The fake model's answers: what they look like, and at what pace they come."""

import asyncio
import json
from collections.abc import Sequence
from math import log
from random import Random

from benchmarks.stamp import now_us, token
from benchmarks.timers import Timers, Wheel

FIRST_S = 0.3
MEDIAN, MEAN = 150, 225
"""Tokens of a mixed load's answers, which are lognormal."""
LENGTH = log(MEDIAN), (2 * log(MEAN / MEDIAN)) ** 0.5
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
CALL = {"index": 0, "id": "call_1", "type": "function"}
ARGUMENTS = ('{"', "city", '":', ' "', "Se", "oul", '"', "}")
END = http_chunk(sse("[DONE]")) + b"0\r\n\r\n"


def end(tokens: int, usage: bool, stop: bytes = STOP) -> bytes:
    """What closes a stream, with the usage if it was asked for."""
    count = f'"prompt_tokens":10,"completion_tokens":{tokens},"total_tokens":{tokens + 10}'
    told = http_chunk(sse(CHUNK[:-1] % "[]" + f',"usage":{{{count}}}}}')) if usage else b""
    return stop + told + END


def streamed(text: str, usage: bool) -> bytes:
    """A whole answer at once, as a stream: no token of a load."""
    delta = json.dumps({"content": text})
    return STREAM_HEAD + ROLE + http_chunk(sse(CHUNK % CHOICE % (delta, "null"))) + end(1, usage)


def tool_call_chunk(function: dict[str, str], call: dict[str, object]) -> bytes:
    delta = json.dumps({"tool_calls": [call | {"function": function}]})
    return http_chunk(sse(CHUNK % CHOICE % (delta, "null")))


class Model:
    """What the answers to come look like, and the count of those under way.

    `pace` in seconds: 0 as fast as the reader takes it, negative none until it is set anew. A new
    pace is that of the paced answers under way, too. `tokens` 0: until `/finish`.

    `mixed`: answers of lengths as people get them, each with its first token after `FIRST_S` and
    then a Poisson process of its own around the pace; to their own end. The first `begun` of them
    are met under way.
    """

    def __init__(self, pace: float, tokens: int, text: bytes) -> None:
        self.text = text
        self.sent = 0
        self.open: set[Answer] = set()
        self.timers = Timers()
        self.set(pace, tokens)

    def set(self, pace: float, tokens: int, *, mixed: bool = False, begun: int = 0) -> None:
        """The same draws for each load, so that servers are asked the same."""
        self.pace, self.tokens, self.mixed, self._begun = pace, tokens, mixed, begun
        self.random = Random(1)
        self.wheel = Wheel(pace) if pace > 0 else None
        for answer in tuple(self.open):
            answer.keep_pace()

    def drawn(self) -> tuple[int, float]:
        """Tokens of the next mixed answer, and the seconds until its first.

        One that is met under way is a long one more often, and anywhere in it: so answers end
        from a load's beginning as often as later.
        """
        median, deviation = LENGTH
        if self._begun > 0:
            self._begun -= 1
            met = self.random.lognormvariate(median + deviation**2, deviation)
            return max(1, round(met * self.random.random())), self.gap()
        return max(1, round(self.random.lognormvariate(median, deviation))), FIRST_S

    def gap(self) -> float:
        return self.random.expovariate(1 / self.pace)

    def finish(self) -> None:
        """Ends what is open, and lets what is asked for later end after a token."""
        self.set(0, 1)
        for answer in tuple(self.open):
            answer.cut_short()

    def abort(self) -> None:
        for answer in tuple(self.open):
            answer.transport.abort()

    def stats(self) -> dict[str, int]:
        return {"sent": self.sent, "open": len(self.open), "at_us": now_us()}


class Answer:
    stop = STOP

    def __init__(self, model: Model, transport: asyncio.Transport, usage: bool) -> None:
        self.transport = transport
        self._model = model
        self._usage = usage
        self._sequence = 0
        self._limit = 0
        self._wheel: Wheel | None = None
        self._unpaced = self._mixed = self._pumping = self._paused = False
        model.open.add(self)
        transport.write(STREAM_HEAD + ROLE)
        self.keep_pace()

    def keep_pace(self) -> None:
        if self._unpaced or self._mixed or self._model.pace < 0:
            return
        if self._model.mixed:
            self._mixed = True
            self._limit, wait_s = self._drawn()
            self._speak_at(now_us() + int(wait_s * 1e6))
            return
        if self._wheel:
            if self._model.wheel:
                self._wheel.leave(self)
                self._wheel = self._model.wheel
                self._wheel.join(self)
            return
        self._wheel, self._unpaced = self._model.wheel, self._model.pace == 0
        self._limit = self._tokens()
        if self._unpaced:
            self._pump()
            return
        self.speak(1)
        if self._wheel and self in self._model.open:
            self._wheel.join(self)

    def speak(self, tokens: int) -> None:
        first = self._sequence
        last = min(first + tokens, self._limit) if self._limit else first + tokens
        self.transport.write(self._chunks(first, last))
        self._sequence = last
        if last == self._limit:
            self.end()

    def _chunks(self, first: int, last: int) -> bytes:
        at, text = now_us(), self._model.text
        self._model.sent += last - first
        return b"".join(
            http_chunk(BEFORE + token(text, sequence, at) + AFTER)
            for sequence in range(first, last)
        )

    def _spoken(self) -> int:
        """Tokens of text, for the usage."""
        return self._sequence

    def _drawn(self) -> tuple[int, float]:
        return self._model.drawn()

    def _tokens(self) -> int:
        return self._model.tokens

    def _speak_at(self, due_us: int) -> None:
        self._due_us = due_us
        self._model.timers.at(due_us, self._speak_one)

    def _speak_one(self) -> None:
        if self not in self._model.open:
            return
        self.speak(1)
        if self in self._model.open:
            self._speak_at(self._due_us + int(self._model.gap() * 1e6))

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

    def cut_short(self) -> None:
        """A graph without an answer has failed, and so has an agent with half a tool call."""
        if (missing := self._least() - self._sequence) > 0:
            self.speak(missing)
        if self in self._model.open:
            self.end()

    def _least(self) -> int:
        return 1

    def end(self) -> None:
        self.leave()
        self.transport.write(end(self._spoken(), self._usage, self.stop))

    def leave(self) -> None:
        self._model.open.discard(self)
        if self._wheel:
            self._wheel.leave(self)


class ToolCall(Answer):
    """What a model says before it has a tool's result: one call, its arguments in pieces."""

    stop = http_chunk(sse(CHUNK % CHOICE % ("{}", '"tool_calls"')))
    pieces: Sequence[bytes] = (
        tool_call_chunk({"name": "weather", "arguments": ""}, CALL),
        *(tool_call_chunk({"arguments": piece}, {"index": 0}) for piece in ARGUMENTS),
    )

    def _chunks(self, first: int, last: int) -> bytes:
        return b"".join(self.pieces[first:last])

    def _spoken(self) -> int:
        return 0

    def _drawn(self) -> tuple[int, float]:
        return len(self.pieces), FIRST_S

    def _tokens(self) -> int:
        return len(self.pieces)

    def _least(self) -> int:
        return len(self.pieces)
