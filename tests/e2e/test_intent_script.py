"""`scripts/e2e-intent-test.sh` finds each broken promise, and none in the real service."""

import json
from asyncio import create_subprocess_exec, timeout
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from sluice.offline_model import OfflineModel

from .conftest import ROOT, program

if TYPE_CHECKING:
    from .conftest import Serve

SCRIPT = ROOT / "scripts" / "e2e-intent-test.sh"
ANSWER = "무색 페트병 👩‍👩‍👧\n\ndata: x"
DONE: dict[str, Any] = {
    "status": "completed",
    "path": "A2",
    "answer": ANSWER,
    "intent": "how_to",
    "finish_reason": "stop",
    "length": len(ANSWER),
    "sha256": sha256(ANSWER.encode()).hexdigest(),
}
RESET = {"reason": "revised"}


def stage(name: str, status: str, progress: int) -> tuple[str, dict[str, Any]]:
    return "stage", {"stage": name, "status": status, "progress": progress}


GOOD = [
    stage("queued", "completed", 0),
    stage("intent", "started", 5),
    stage("intent", "completed", 20),
    stage("retrieve", "started", 20),
    stage("retrieve", "completed", 40),
    stage("answer", "started", 50),
    ("token", {"content": ANSWER[:4], "node": "answer"}),
    ("token", {"content": ANSWER[4:], "node": "answer"}),
    stage("answer", "completed", 95),
    ("done", DONE),
]


def frames(events: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [
        f"event: {name}\nid: 1-{seq}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
        for seq, (name, data) in enumerate(events, start=1)
    ]


def told(*events: tuple[str, dict[str, Any]]) -> str:
    return "retry: 2000\n\n" + "".join(frames(list(events)))


def ended(**changes: Any) -> str:
    return told(*GOOD[:-1], ("done", DONE | changes))


def without(*positions: int) -> str:
    return told(*(event for at, event in enumerate(GOOD) if at not in positions))


JOINED = told(*GOOD[:6], ("token", {"content": ANSWER, "node": "answer"}), *GOOD[8:])
COALESCED = JOINED.replace("id: 1-9", "id: 1-10").replace("id: 1-8", "id: 1-9")
COALESCED = COALESCED.replace("id: 1-7", "id: 1-8")
REVISED = told(
    *GOOD[:6], ("token", {"content": "no", "node": "answer"}), ("reset", RESET), *GOOD[6:]
)
KEPT_ALIVE = told(*GOOD[:4]) + "event: keepalive\ndata: {}\n\n" + "".join(frames(GOOD)[4:])
TWICE = told(*GOOD) + frames([*GOOD, ("cancelled", {"reason": "user"})])[-1]
FAILURE = {"status": "failed", "code": "upstream_auth", "message": "No.", "retryable": False}

BROKEN = {
    "sha256 differs": ended(sha256="0" * 64),
    "length 3": ended(length=3),
    "done says path A1": ended(path="A1"),
    "the tokens do not join": without(7),
    "A2 gave no token": without(6, 7),
    "answer completed before it started": told(*GOOD[:5], GOOD[8], *GOOD[6:8], GOOD[9]),
    "answer started after it had spoken": told(*GOOD[:5], GOOD[6], GOOD[5], *GOOD[7:]),
    "intent started twice": told(*GOOD[:2], *GOOD[1:]),
    "done while answer still ran": without(8),
    "progress of answer is 10 after 40": told(*GOOD[:5], stage("answer", "started", 10), *GOOD[6:]),
    "the stages for how_to were": without(3, 4),
    "no terminal event": without(9),
    "after the terminal event": TWICE,
    "ended with error upstream_auth": told(*GOOD[:3], ("error", FAILURE)),
    "does not follow 1-5": told(*GOOD).replace("id: 1-6", "id: 1-7", 1),
    "does not follow 1-7": told(*GOOD).replace("id: 1-8", "id: 1-7"),
    "unknown event": told(*GOOD).replace("event: token", "event: chunk"),
    "is not event, id, data": told(*GOOD).replace("data: {", "data:{", 1),
    "a CR in the stream": told(*GOOD).replace("\n", "\r\n"),
    "the last frame is not complete": told(*GOOD)[:-1],
    "no JSON object": told(*GOOD).replace('"progress": 5}', '"progress": 5'),
    "the record differs": told(*GOOD),
}


class Canned(BaseHTTPRequestHandler):
    """A service whose every job gives the same stream."""

    stream = ""
    answer = ANSWER

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/v1/chat":
            self._send(201, json.dumps({"id": "c"}))
        else:
            accepted = {"job_id": "j", "path": "A2", "stream_url": "/api/v1/chat/j/events"}
            self._send(202, json.dumps(accepted))

    def do_GET(self) -> None:
        if self.path.endswith("/events"):
            self._send(200, self.stream, "text/event-stream; charset=utf-8")
        else:
            self._send(200, json.dumps({"status": "completed", "answer": self.answer}))

    def _send(self, status: int, text: str, kind: str = "application/json") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not into the test's output."""


@pytest.fixture
def canned() -> Iterator[tuple[type[Canned], str]]:
    handler = type("Handler", (Canned,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield handler, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def run(*arguments: str | Path) -> tuple[int | None, str]:
    for needed in ("bash", "curl", "jq"):
        program(needed)
    process = await create_subprocess_exec("bash", SCRIPT, *arguments, stdout=PIPE, stderr=STDOUT)
    async with timeout(60):
        output, _ = await process.communicate()
    return process.returncode, output.decode()


@pytest.mark.parametrize("stream", [told(*GOOD), COALESCED, REVISED, KEPT_ALIVE])
async def test_a_stream_that_keeps_the_contract_passes(
    canned: tuple[type[Canned], str], stream: str
) -> None:
    canned[0].stream = stream
    status, output = await run(canned[1], "--quick")
    assert status == 0, output
    assert "2 of 2 messages kept the contract" in output


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_broken_promise_is_found_and_named(
    canned: tuple[type[Canned], str], broken: str
) -> None:
    canned[0].stream = BROKEN[broken]
    if broken == "the record differs":
        canned[0].answer, broken = "another", "the job's record differs"
    status, output = await run(canned[1], "--quick")
    assert status == 1, output
    assert "FAIL  how_to/ko" in output
    assert broken in output


async def test_wrong_usage_is_told_apart_from_a_broken_promise() -> None:
    assert (await run())[0] == 2
    assert (await run("http://127.0.0.1:1", "--nonsense"))[0] == 2
    assert (await run("http://127.0.0.1:1", "--quick"))[0] == 1


@pytest.mark.timeout(150)
async def test_both_paths_of_the_real_service_pass_with_the_same_answers(
    serve: "Serve", tmp_path: Path
) -> None:
    digests = {}
    for flag, path in (("false", "A1"), ("true", "A2")):
        file = tmp_path / path
        async with (
            OfflineModel(pace=0) as upstream,
            serve(
                ENABLE_TOKEN_STREAMING=flag,
                OPENAI_BASE_URL=upstream.base_url,
                OPENAI_API_KEY="x",
                OPENAI_MODEL="m",
            ) as base,
        ):
            status, output = await run(base, "--all", "--digests", file)
            assert status == 0, output
            rows = [line.split("\t") for line in file.read_text().splitlines()]
            assert {row[1] for row in rows} == {path}
            digests[path] = [(label, digest) for label, _, digest in rows]
    assert len(digests["A2"]) == 10
    assert digests["A1"] == digests["A2"]
