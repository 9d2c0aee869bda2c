"""Chats of an agent: each takes turn after turn, and what it is answered is judged."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx2

STOPPED = 0.2
LOST = ("worker_lost",)
"""How a job may fail whose processes were killed twice."""
CALL = ["started", "arguments", "completed"]
ENDS_WITHIN = 120
_READS_S = 10

Told = Sequence[tuple[str, Any]]
"""The events of a job, as far as its stream went: name and data."""


@dataclass
class Chat:
    """`turns`: what was answered, in order, and `results` what the tool gave in each."""

    number: int
    turns: list[str] = field(default_factory=list)
    results: list[list[int]] = field(default_factory=list)


class Agents:
    """`port`: of any gateway, asked anew for every request."""

    def __init__(self, seed: int, port: Callable[[], int]) -> None:
        self._seed, self._port = seed, port
        self._http = httpx2.AsyncClient(trust_env=False, verify=False, timeout=10)
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.job = ""
        """The last one that was answered."""

    async def aclose(self) -> None:
        await self._http.aclose()

    async def talk(self, chat: Chat, stop: asyncio.Event) -> None:
        """Until `stop`, and once more when all is mended: then the chat still has its state."""
        rng = Random(f"{self._seed} {chat.number}")
        while not stop.is_set():
            await self._turn(chat, rng, stops=rng.random() < STOPPED)

    async def last_turn(self, chat: Chat) -> None:
        """Of a chat that nobody disturbs any more."""
        before = len(chat.turns)
        await self._turn(chat, Random(chat.number), stops=False)
        if len(chat.turns) == before:
            self.faults.append(f"chat {chat.number} does not go on")

    async def forget(self) -> None:
        """Delete all chats."""
        while chats := (await self._insist("GET", "chat?limit=100", {200}))["items"]:
            for chat in chats:
                await self._insist("DELETE", f"chat/{chat['id']}", {204, 404})

    async def _turn(self, chat: Chat, rng: Random, *, stops: bool) -> None:
        said = f"{chat.number}.{self.counts['turns']}"
        self.counts["turns"] += 1
        job = (await self._insist(
            "POST", "chat", {202}, {"Idempotency-Key": f"agents-{self._seed}-{said}"},
            {"message": said, "session_id": f"{self._seed}-{chat.number}"},
        ))["job_id"]  # fmt: skip
        given = [rng.randrange(1000), rng.randrange(1000)]
        stop_at = rng.choice([0, 1]) if stops else None
        for n, value in enumerate(given):
            await asyncio.sleep(rng.uniform(0, 0.5))
            asked = await self._question(job, n)
            if asked is None:
                break
            if stop_at == n:
                await self._insist("DELETE", f"jobs/{job}", {202})
                break
            await self._give(job, asked, value)
        view, told = await self._over(job)
        self.judge(chat, said, given, view, told, stopped=stops)
        self.job = job

    async def _give(self, job: str, asked: str, value: int) -> None:
        """Twice: the same answer again changes nothing; another one is refused."""
        body = {"input_id": asked, "value": value}
        for _ in range(2):
            await self._insist("POST", f"chat/{job}/input", {202, 409}, {}, body)
        await self._insist("POST", f"chat/{job}/input", {409}, {}, body | {"value": -1})

    async def _question(self, job: str, n: int) -> str | None:
        """The id of the n-th question, once it is asked; None when the job is over before."""
        while True:
            asked = dict[str, None]()
            async for name, data in self._events(job):
                if name == "needs_input":
                    asked[data["input_id"]] = None
                if len(asked) > n:
                    return list(asked)[n]
                if name in ("done", "error", "cancelled"):
                    return None
            await asyncio.sleep(0.1)

    async def _over(self, job: str) -> tuple[dict[str, Any], Told]:
        """The job when it is over, and all that its stream tells then.

        Raises AssertionError if it was answered or stopped, and does not end.
        """
        latest = time.monotonic() + ENDS_WITHIN
        while True:
            told = [event async for event in self._events(job)]
            view: dict[str, Any] = await self._insist("GET", f"jobs/{job}", {200})
            if told and told[-1][0] in ("done", "error", "cancelled"):
                return view, told
            assert time.monotonic() < latest, f"job {job} is {view['status']} for good"
            await asyncio.sleep(0.1)

    async def _events(self, job: str) -> AsyncIterator[tuple[str, Any]]:
        """From the first on, until the end, a break, or nothing for a while."""
        url = f"http://127.0.0.1:{self._port()}/api/v1/chat/{job}/events"
        with suppress(httpx2.TransportError):
            async with self._http.stream("GET", url, timeout=_READS_S) as stream:
                name = ""
                async for line in stream.aiter_lines():
                    if line.startswith("event: "):
                        name = line[7:]
                    elif line.startswith("data: ") and name != "keepalive":
                        yield name, json.loads(line[6:])

    def judge(
        self,
        chat: Chat,
        said: str,
        given: Sequence[int],
        view: dict[str, Any],
        told: Told,
        *,
        stopped: bool,
    ) -> None:
        """No turn twice in the state and none lost, each answer to a question counted once."""
        status = view["status"]
        self.counts[status] += 1
        if status == "completed":
            first, second = given
            chat.turns.append(said)
            chat.results.append([first, 2 * second])
            expected = f"I ask: {json.dumps([chat.turns, chat.results, first])}"
            if view["answer"] != expected:
                self.faults.append(f"{said}: {view['answer']!r} instead of {expected!r}")
            self._judge_told(said, chat.results[-1], expected, told)
        elif status == "failed" and view["error"]["code"] not in LOST:
            self.faults.append(f"{said} failed: {view['error']['code']}")
        elif status == "cancelled" and not stopped:
            self.faults.append(f"{said} was cancelled, and nobody asked for that")

    def _judge_told(self, said: str, result: list[int], answer: str, told: Told) -> None:
        """What a reader has of the last attempt: the text, and the one call of the tool."""
        text, calls = "", list[Any]()
        for name, data in told:
            if name == "reset":
                text = ""
                if data["reason"] == "new_attempt":
                    calls.clear()
            elif name == "token":
                text += data["content"]
            elif name == "tool":
                calls.append(data)
        if text not in (answer, ""):  # A1 has no tokens
            self.faults.append(f"{said}: its reader has {text!r}")
        if [call["status"] for call in calls] != CALL or calls[-1]["result"] != json.dumps(result):
            self.faults.append(f"{said}: its reader was told of the tool {calls}")

    async def _insist(
        self,
        method: str,
        what: str,
        wanted: set[int],
        headers: dict[str, str] | None = None,
        body: Any = None,
    ) -> Any:
        """At any gateway, until one of them does it."""
        while True:
            with suppress(httpx2.TransportError):
                url = f"http://127.0.0.1:{self._port()}/api/v1/{what}"
                answer = await self._http.request(method, url, headers=headers, json=body)
                if answer.status_code in wanted:
                    return answer.json() if answer.content else None
                if answer.status_code < 500:
                    told = f"{method} {what}: {answer.status_code} {answer.text}"
                    raise AssertionError(told)
            await asyncio.sleep(0.1)
