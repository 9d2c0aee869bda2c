"""A load client that costs little: `python -m benchmarks.client '<plan as JSON>'`.

Prints one JSON object: what came in the plan's window, how long it took, and what was wrong.
All times are microseconds of `stamp.now_us`.
"""

import asyncio
import gc
import json
import sys
from array import array
from collections import Counter
from dataclasses import dataclass
from typing import Any, cast

import httptools
import uvloop

from benchmarks.kept_connection import KeptConnection, RefusedError, request
from benchmarks.sse import DIALECTS, Reading
from benchmarks.stamp import now_us
from benchmarks.stats import fairness, spread

QUESTION = "How is an answer streamed?"
PLAIN = {
    "message": QUESTION,
    "model": "m",
    "stream": True,
    "messages": [{"role": "user", "content": QUESTION}],
}


BUCKET_US = 250_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`streams` lanes, opened over `ramp_us`, each reading one answer after the other.

    A lane stops after `rounds` answers, or with 0 at the first that ends after `stop_us`; at
    `deadline_us` everything still open is cut. With `urls`, lanes read those instead of asking.
    `timed` False leaves each token's stamp unread, which is cheaper.
    """

    port: int
    dialect: str
    path: str = ""
    streams: int
    begin_us: int
    ramp_us: int = 0
    window: tuple[int, int]
    stop_us: int
    deadline_us: int
    rounds: int = 0
    urls: tuple[str, ...] = ()
    timed: bool = True
    text: str = ""


class Bucket:
    """What came in one quarter of a second."""

    __slots__ = ("content_bytes", "lags_us", "tokens", "wire_bytes")

    def __init__(self) -> None:
        self.lags_us = array("q")
        self.tokens = self.content_bytes = self.wire_bytes = 0


class Load:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.text = plan.text.encode()
        self.dialect = DIALECTS[plan.dialect]
        self.bucket = Bucket()
        self.open: set[Round] = set()
        self.urls: list[str] = []
        self.cut = False
        self._buckets: dict[int, Bucket] = {}
        self._current = -(10**9)
        self._lane_tokens = [0] * plan.streams
        self._outcomes: Counter[str] = Counter()
        self._first_ms: list[float] = []
        self._round_ms: list[float] = []
        self._asking: dict[int, KeptConnection] = {}
        self._gaps = self._repeats = self._tokens = 0

    def at(self, now: int) -> Bucket:
        number = (now - self.plan.window[0]) // BUCKET_US
        if number != self._current:
            self._current = number
            self.bucket = self._buckets.setdefault(number, Bucket())
        return self.bucket

    def seen(self, lag_us: int) -> None:
        self.bucket.lags_us.append(lag_us)

    def came(self, lane: int, tokens: int, content_bytes: int) -> None:
        self.bucket.tokens += tokens
        self.bucket.content_bytes += content_bytes
        if 0 <= self._current < self._window_buckets:
            self._lane_tokens[lane] += tokens

    def ended(self, answer: "Round", outcome: str) -> None:
        self.open.discard(answer)
        self._outcomes[outcome] += 1
        if answer.first:
            self._first_ms.append((answer.first - answer.asked) / 1000)
            self._round_ms.append((answer.first - answer.began) / 1000)
        self._gaps += answer.reading.gaps
        self._repeats += answer.reading.repeats
        self._tokens += answer.reading.tokens

    async def run(self) -> None:
        asyncio.get_running_loop().call_later(
            (self.plan.deadline_us - now_us()) / 1e6, self._cut_all
        )
        await asyncio.gather(*(self._lane(number) for number in range(self.plan.streams)))

    async def _lane(self, number: int) -> None:
        plan = self.plan
        start = plan.begin_us + plan.ramp_us * number // plan.streams
        await asyncio.sleep(max(0, start - now_us()) / 1e6)
        asking = self._asking[number] = KeptConnection(plan.port)
        done = 0
        while not self.cut:
            try:
                await self._round(asking, number, number + done * plan.streams)
            except (OSError, RefusedError) as error:
                self._outcomes["unfinished" if self.cut else str(error)] += 1
                if isinstance(error, ConnectionRefusedError):
                    break
            done += 1
            if done == plan.rounds or now_us() > plan.stop_us:
                break
        asking.close()

    async def _round(self, asking: KeptConnection, lane: int, number: int) -> None:
        """One answer; a stream has a connection of its own."""
        plan, loop, began, asked = self.plan, asyncio.get_running_loop(), now_us(), 0
        question: object = None
        if plan.urls:
            path = plan.urls[number % len(plan.urls)]
        elif plan.path:
            path, question = plan.path, PLAIN
        else:
            chat = await asking.post("/api/v1/chat")
            asked = now_us()
            reply = await asking.post(f"/api/v1/chat/{chat['id']}/messages", {"message": QUESTION})
            path = reply["stream_url"]
            self.urls.append(path)
        sent = request("POST" if question else "GET", path, question)
        _, answer = await loop.create_connection(
            lambda: Round(self, lane, sent, began, asked), "127.0.0.1", plan.port
        )
        await answer.over

    def _cut_all(self) -> None:
        self.cut = True
        for answer in tuple(self.open):
            answer.end("unfinished")
        for asking in self._asking.values():
            asking.close()

    @property
    def _window_buckets(self) -> int:
        return (self.plan.window[1] - self.plan.window[0]) // BUCKET_US

    def result(self) -> dict[str, Any]:
        window = [self._buckets.get(n, Bucket()) for n in range(self._window_buckets)]
        lags = [lag / 1000 for bucket in window for lag in bucket.lags_us]
        return {
            "tokens": sum(bucket.tokens for bucket in window),
            "wire_bytes": sum(bucket.wire_bytes for bucket in window),
            "content_bytes": sum(bucket.content_bytes for bucket in window),
            "lag_ms": spread(lags),
            "first_ms": spread(self._first_ms),
            "round_ms": spread(self._round_ms),
            "outcomes": dict(self._outcomes),
            "gaps": self._gaps,
            "repeats": self._repeats,
            "tokens_total": self._tokens,
            "fairness": fairness(self._lane_tokens),
            "least": min(self._lane_tokens),
            "most": max(self._lane_tokens),
            "timeline": [
                {
                    "s": number * BUCKET_US / 1e6,
                    "tokens": bucket.tokens,
                    "lag_p99_ms": spread(bucket.lags_us)["p99"] / 1000,
                }
                for number, bucket in sorted(self._buckets.items())
            ],
            "urls": self.urls,
        }


class Round(asyncio.Protocol):
    """One answer's stream, from the connection to the last frame."""

    def __init__(self, load: Load, lane: int, request: bytes, began: int, asked: int) -> None:
        self.over = asyncio.get_running_loop().create_future()
        self.began, self.asked, self.first = began, asked or now_us(), 0
        self._load, self._lane, self._request = load, lane, request
        seen = load.seen if load.plan.timed else None
        self.reading = Reading(load.dialect, load.text, seen)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpResponseParser(self)
        self._load.open.add(self)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._now = now_us()
        self._load.at(self._now).wire_bytes += len(data)
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        reading = self.reading
        before = reading.content_bytes
        tokens = reading.feed(body, self._now)
        if not self.first and (tokens or reading.last):
            self.first = self._now
        self._load.came(self._lane, tokens, reading.content_bytes - before)
        if reading.last:
            self.end(reading.fault or "ended")

    def on_message_complete(self) -> None:
        if not self._transport.is_closing():
            status = self._parser.get_status_code()
            self.end(f"status {status}" if status >= 400 else "no last frame")

    def end(self, outcome: str) -> None:
        if not self.over.done():
            self._load.ended(self, outcome)
            self.over.set_result(None)
            self._transport.abort()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.end("connection lost")


def main() -> None:
    load = Load(Plan(**json.loads(sys.argv[1])))
    gc.disable()
    uvloop.run(load.run())
    print(json.dumps(load.result()))


if __name__ == "__main__":
    main()
