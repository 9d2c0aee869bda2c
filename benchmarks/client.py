"""A load client that costs little: `python -m benchmarks.client '<plan as JSON>'`.

Prints one JSON object: what came in the plan's window, how long it took, and what was wrong.
"""

import asyncio
import gc
import json
import sys
from array import array
from collections import Counter
from functools import partial
from typing import Any, cast

import httptools
import uvloop

from benchmarks.plan import BUCKET_US, Plan
from benchmarks.sse import DIALECTS, Reading
from benchmarks.stamp import now_us
from benchmarks.stats import fairness, spread

QUESTION = "How is an answer streamed?"


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
        if answer.reading:
            self._gaps += answer.reading.gaps
            self._repeats += answer.reading.repeats
            self._tokens += answer.reading.tokens

    async def run(self) -> None:
        asyncio.get_running_loop().call_later(
            (self.plan.deadline_us - now_us()) / 1e6, self._cut_all
        )
        await asyncio.gather(*(self._lane(number) for number in range(self.plan.streams)))

    async def _lane(self, number: int) -> None:
        plan, loop = self.plan, asyncio.get_running_loop()
        start = plan.begin_us + plan.ramp_us * number // plan.streams
        await asyncio.sleep(max(0, start - now_us()) / 1e6)
        done = 0
        while not self.cut:
            url = plan.urls[(number + done * plan.streams) % len(plan.urls)] if plan.urls else ""
            over = loop.create_future()
            try:
                await loop.create_connection(
                    partial(Round, self, number, url, over), "127.0.0.1", plan.port
                )
            except OSError:
                self._outcomes["connection refused"] += 1
                return
            await over
            done += 1
            if done == plan.rounds or now_us() > plan.stop_us:
                return

    def _cut_all(self) -> None:
        self.cut = True
        for answer in tuple(self.open):
            answer.end("unfinished")

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
    """One answer, from the connection to the last frame. Sluice takes three requests for it."""

    def __init__(self, load: Load, lane: int, url: str, over: asyncio.Future[None]) -> None:
        self.over = over
        self.began = now_us()
        self.asked = self.first = 0
        self.reading: Reading | None = None
        self._load, self._lane, self._url = load, lane, url
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpResponseParser(self)
        self._load.open.add(self)
        if self._url:
            self._listen("GET", self._url)
        elif self._load.plan.path:
            self._listen("POST", self._load.plan.path)
        else:
            self._send("POST", "/api/v1/chat")

    def _send(self, method: str, path: str, body: object = None) -> None:
        data = json.dumps(body).encode() if body else b""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\n"
        kind = "Content-Type: application/json\r\n" if data else ""
        self._transport.write(f"{head}{kind}\r\n".encode() + data)

    def _listen(self, method: str, path: str) -> None:
        self.asked = self.asked or now_us()
        seen = self._load.seen if self._load.plan.timed else None
        self.reading = Reading(self._load.dialect, self._load.text, seen)
        plain = {"message": QUESTION, "model": "m", "stream": True}
        plain["messages"] = [{"role": "user", "content": QUESTION}]
        self._send(method, path, plain if method == "POST" else None)

    def data_received(self, data: bytes) -> None:
        self._now = now_us()
        bucket = self._load.at(self._now)
        if self.reading:
            bucket.wire_bytes += len(data)
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        reading = self.reading
        if reading is None:
            self._body += body
            return
        before = reading.content_bytes
        tokens = reading.feed(body, self._now)
        if not self.first and (tokens or reading.last):
            self.first = self._now
        self._load.came(self._lane, tokens, reading.content_bytes - before)
        if reading.last:
            self.end(reading.fault or "ended")

    def on_message_complete(self) -> None:
        if self._transport.is_closing():
            return
        status = self._parser.get_status_code()
        if status >= 400 or self.reading:
            self.end(f"status {status}" if status >= 400 else "no last frame")
            return
        reply, self._body = json.loads(self._body), b""
        if "stream_url" in reply:
            self._load.urls.append(reply["stream_url"])
            self._listen("GET", reply["stream_url"])
        else:
            self.asked = now_us()
            self._send("POST", f"/api/v1/chat/{reply['id']}/messages", {"message": QUESTION})

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
