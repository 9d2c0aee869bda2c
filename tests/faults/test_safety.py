"""Secrets, text that looks like protocol, equal requests, a blocked loop, a clock that jumps."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_mock

from sluice.domain.chat import now
from sluice.domain.errors import NotFound
from sluice.domain.events import QUEUED, Cancelled
from sluice.infrastructure.event_log.sqlite.log import SqliteEventLog
from sluice.infrastructure.sqlite.database import SqliteDatabase
from sluice.offline_model import Break, Reply
from tests.doubles import a_job
from tests.faults.conftest import Live, Start
from tests.faults.test_cancel import ended, says
from tests.http.house import text
from tests.http.who import SECRET, token

HOSTILE = (
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "[x](javascript:alert(1))",
    "\n\nevent: done\nid: 9-9\ndata: {}\n\n",
    "\r\n\r\ndata: x\r\revent: cancelled\r\r",
    "\x00\u2028\u2029\x1f\x7f ",
    ": comment\nretry: 1\n\n",
    "event: keepalive\ndata: {}\n\n",
    "\u202eעברית\u202c العربية \u200b\u200d\ufeff",
    "\u1100\u1161\u11a8 and 각, e\u0301 and é",
    "👩‍👩‍👧‍👦🇰🇷",
)


async def test_no_secret_is_in_a_log_line_a_metric_or_an_error(start: Start) -> None:
    """The key, the prompt, the answer, the bearer token and the cookie, at DEBUG."""
    key, prompt, answer = "key-canary-1", "prompt-canary-2", "answer-canary-3"
    live = await start(
        SLUICE_AUTH="jwt", SLUICE_JWT_SECRET=SECRET, OPENAI_API_KEY=key, SLUICE_IDLE_TIMEOUT="1"
    )
    service, bearer = live.service, token()
    asks = {"Authorization": f"Bearer {bearer}"}
    cookie = token(sub="bob")
    says(live, prompt, Reply([answer, " it is"]))
    says(live, f"{prompt} fails", Reply([answer, Break.RESET]))
    says(live, f"{prompt} hangs", Reply([answer, Break.HANG]))
    told: list[Any] = []
    for message in (prompt, f"{prompt} fails", f"{prompt} hangs"):
        job = (await service.ask(message, **asks))["job_id"]
        async with service.stream(job, headers=asks) as stream:
            seen = await stream.all()
        told += [frame for frame in seen if frame.event == "error"]
    assert answer in text(seen)
    by_cookie = {"Cookie": f"s_access={cookie}"}
    async with service.stream(job, headers=by_cookie) as other:
        assert other.status == 404
    told += [
        (await service.client.request(method, f"{service.url}{path}", headers=headers, **body)).text
        for method, path, headers, body in (
            ("GET", f"/api/v1/jobs/{job}?q={bearer}", by_cookie, {}),
            ("GET", "/api/v1/chat", {"Authorization": f"Bearer {bearer}x"}, {}),
            ("POST", "/api/v1/chat", asks, {"json": {"message": prompt, "mesage": prompt}}),
            ("POST", "/api/v1/chat", asks, {"content": f'{{"message": "{prompt}'}),
            ("POST", "/api/v1/chat", asks, {"json": {"message": prompt, "model": prompt}}),
            ("GET", "/metrics", asks, {}),
        )
    ]
    await service.kill()
    log = service.log.read_text()
    assert "failed: upstream_disconnected" in log
    for secret in (key, prompt, answer, bearer, cookie, SECRET):
        assert secret not in log
        assert secret not in json.dumps(told)


async def test_the_text_of_a_nodes_error_is_in_no_log_line(start: Start) -> None:
    """Raised, logged with its traceback, and left in a task and a callback that nobody awaits."""
    secret = "prompt-canary-4"
    live = await start(SLUICE_PIPELINE="tests.faults.graphs:careless")
    job = (await live.service.ask(secret))["job_id"]
    seen = await ended(live, job)
    assert seen[-1].data["code"] == "pipeline_error"
    async with asyncio.timeout(5):
        while (log := live.service.log.read_text()).count("unhandled exception in event loop") < 2:
            await asyncio.sleep(0.05)
    assert "a node failed" in log
    assert "graphs.py" in log
    assert secret not in log
    assert secret not in json.dumps([frame for frame in seen if frame.event == "error"])


async def test_text_that_looks_like_protocol_or_is_rare_arrives_byte_for_byte(shared: Live) -> None:
    asked = " ".join(HOSTILE).replace("\x00", "")
    said = [piece[i : i + 3] for piece in HOSTILE for i in range(0, len(piece), 3)]
    says(shared, asked, Reply(said))
    accepted = await shared.service.ask(asked)
    async with shared.service.stream(accepted["job_id"]) as stream:
        seen = await stream.all()
    assert stream.properly
    assert {frame.event for frame in seen} <= {"stage", "token", "done"}
    assert seen[-1].data["answer"] == "".join(HOSTILE)
    assert text(seen) == ("".join(HOSTILE) if shared.path == "A2" else "")
    over = await ended(shared, accepted["job_id"])
    assert text(over) == text(seen)
    url = f"{shared.service.url}/api/v1/chat/{accepted['chat_id']}"
    items = (await shared.service.client.get(url)).json()["items"]
    assert [item["content"] for item in items] == [asked, "".join(HOSTILE)]


async def test_ten_equal_submits_make_one_job(shared: Live) -> None:
    """Ten connections at once, three times over, then once more when all is over."""
    service = shared.service

    async def submit(key: str, message: str = "hi") -> httpx2.Response:
        async with httpx2.AsyncClient(trust_env=False, verify=False, timeout=10) as client:
            return await client.post(
                f"{service.url}/api/v1/chat",
                json={"message": message, "session_id": f"chat-{key}"},
                headers={"Idempotency-Key": key},
            )

    for number in range(3):
        key = f"{shared.path}-{number}"
        calls = shared.model.opened
        answers = await asyncio.gather(*(submit(key) for _ in range(10)))
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.content for answer in answers}) == 1
        await ended(shared, answers[0].json()["job_id"])
        await shared.leaves_nothing()
        assert shared.model.opened == calls + 2
        assert (await submit(key)).content == answers[0].content
        assert (await submit(key, "other")).status_code == 409
        assert shared.model.opened == calls + 2


async def test_a_node_that_blocks_the_loop_is_named_in_the_log(start: Start) -> None:
    live = await start(SLUICE_PIPELINE="tests.faults.graphs:blocking")
    service = live.service
    job = (await service.ask("3"))["job_id"]
    async with service.stream(job) as stream:
        seen = await stream.all()
    assert seen[-1].data["answer"] == "slept"
    async with asyncio.timeout(5):
        while "sleeps_without_letting_go" not in (log := service.log.read_text()):
            await asyncio.sleep(0.05)
    # A busy machine may stop the loop at other places too.
    (line,) = [line for line in log.splitlines() if "sleeps_without_letting_go" in line]
    assert "event loop blocked" in line
    assert "graphs.py" in line
    assert (await service.metrics())["sluice_loop_blocked_total"] >= 1


async def test_a_clock_that_jumps_neither_ends_a_log_early_nor_loses_it(
    tmp_path: Path, mocker: pytest_mock.MockerFixture
) -> None:
    """Wall time decides only when a finished log is forgotten, and what is shown as a date."""
    database = SqliteDatabase(tmp_path / "sluice.db")
    await database.open()
    log = SqliteEventLog(database, retention=60)
    await log.open()
    clock: Any = mocker.patch("sluice.infrastructure.event_log.sqlite.log.now", side_effect=now)
    running, over = a_job(), a_job()
    for job in (running, over):
        await log.create(job, QUEUED)
    notifier = await log.begin(over.id)
    await notifier.end(Cancelled("user"))
    later, earlier = now() + timedelta(days=400), now() - timedelta(days=400)
    clock.side_effect = lambda: earlier
    await log.sweep()
    assert len((await log.read(over.id)).events) == 2
    clock.side_effect = lambda: later
    await log.sweep()
    with pytest.raises(NotFound):
        await log.read(over.id)
    clock.side_effect = now
    notifier = await log.begin(running.id)
    await notifier.end(Cancelled("user"))
    assert len((await log.read(running.id)).events) == 2
    await log.aclose()
    await database.aclose()


def test_no_deadline_goes_by_the_wall_clock() -> None:
    """A token's expiry is wall time by its standard; the offline model stamps its answers, and so
    does OpenAI's API.
    """
    root = Path(__file__).parents[2]
    users = {
        path.relative_to(root).as_posix()
        for layer in ("domain", "application", "infrastructure", "interfaces", "offline_model")
        for path in (root / layer).rglob("*.py")
        if "time.time()" in path.read_text()
    }
    assert users == {
        "interfaces/http/sse.py",
        "interfaces/protocols/openai/completions.py",
        "interfaces/protocols/openai/serving.py",
        "offline_model/server.py",
    }
