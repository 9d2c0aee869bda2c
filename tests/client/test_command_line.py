"""`sluice ask` and `sluice watch` in a process of their own, and what a terminal shows of them."""

import asyncio
import io
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sluice.application.codec import encode
from sluice.client import Received
from sluice.domain.events import (
    Cancelled,
    Done,
    Event,
    Failed,
    Reset,
    StageCompleted,
    StageStarted,
    Token,
)
from sluice.interfaces.cli.display import Terminal
from tests.client.cutting_proxy import cutting
from tests.http.house import ANSWER, STARTED, TOLD, WORDS, serving
from tests.http.test_frame_writer import Gate
from tests.http.who import by_secret, token
from tests.live.process import environment
from tests.live.service import Service
from tests.waiting import until

WITHIN = 20


async def started(*arguments: str, **settings: str) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sluice.interfaces.cli", *arguments),
        env=environment(**settings),
        stdout=PIPE,
        stderr=PIPE,
    )


async def ended(process: Process) -> tuple[int, str, str]:
    """Its exit status, and what it wrote."""
    async with asyncio.timeout(WITHIN):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def ran(*arguments: str, **settings: str) -> tuple[int, str, str]:
    return await ended(await started(*arguments, **settings))


async def test_in_a_pipe_the_answer_is_all_there_is() -> None:
    plays = STARTED, Token("wrong", "answer"), Reset("revised"), *WORDS, Done("A2", ANSWER)
    async with serving(*plays) as house:
        assert await ran("ask", "Why?", "--url", house.url) == (0, f"{ANSWER}\n", "")


async def test_a_program_gets_every_event_as_a_line_through_any_cut() -> None:
    plays = [play for piece in WORDS * 10 for play in (Gate(), piece)]
    async with (
        serving(*plays, Done("A2", ANSWER * 10)) as house,
        cutting(house.port, "reset", 5, within=2000) as proxy,
    ):
        status, out, err = await ran("ask", "Why?", "--json", SLUICE_URL=proxy.url)
        assert (status, err) == (0, "")
        assert proxy.left < 5
        events: list[dict[str, Any]] = [json.loads(line) for line in out.split("\n") if line]
        said = "".join(each["data"]["content"] for each in events if each["event"] == "token")
        assert said == ANSWER * 10
        assert events[-1]["data"]["sha256"] == sha256(said.encode()).hexdigest()


async def test_a_job_that_is_there_is_watched_by_whoever_may() -> None:
    async with serving(*TOLD, identity=by_secret()) as house:
        headers = {"Authorization": f"Bearer {token()}"}
        asked = await house.client.post("/api/v1/chat", json={"message": "a"}, headers=headers)
        watching = ("watch", asked.json()["job_id"], "--url", house.url)
        assert await ran(*watching, SLUICE_TOKEN=token()) == (0, f"{ANSWER}\n", "")
        status, out, err = await ran(*watching, "--token", token(sub="bob"))
        assert (status, out) == (1, "")
        assert err.startswith("sluice: 404: ")


async def test_no_answer_is_no_success_and_says_why() -> None:
    async with serving(ValueError("secret")) as house:
        status, out, err = await ran("ask", "Why?", "--url", house.url)
        assert (status, out) == (1, "")
        assert "internal" in err
        assert "secret" not in err
        assert len(err.splitlines()) == 1


async def test_an_answer_that_is_cancelled_elsewhere_is_no_success() -> None:
    async with serving(WORDS[0], asyncio.Event()) as house:
        process = await started("ask", "Why?", "--json", "--url", house.url)
        await until(lambda: house.streams.open, within=WITHIN)
        (chat,) = (await house.client.get("/api/v1/chat")).json()["items"]
        job = (await house.client.get(f"/api/v1/chat/{chat['id']}")).json()["active_job_id"]
        await house.client.delete(f"/api/v1/jobs/{job}")
        status, out, err = await ended(process)
        assert (status, err) == (1, "sluice: the answer was cancelled\n")
        assert json.loads(out.splitlines()[-1])["event"] == "cancelled"


async def test_an_interrupt_cancels_the_job_and_says_so() -> None:
    async with serving(WORDS[0], asyncio.Event()) as house:
        process = await started("ask", "Why?", "--json", "--url", house.url)
        assert process.stdout is not None
        async with asyncio.timeout(WITHIN):
            while b"token" not in await process.stdout.readline():
                pass
        process.send_signal(signal.SIGINT)
        status, _, err = await ended(process)
        assert (status, err) == (130, "sluice: the answer was cancelled\n")
        await until(lambda: house.pipeline.closed == 1)


@pytest.mark.parametrize(
    "arguments", [("ask", "Why?"), ("watch", "j")], ids=lambda arguments: arguments[0]
)
async def test_where_nobody_listens_one_line_says_so(arguments: Sequence[str]) -> None:
    status, out, err = await ran(*arguments, "--url", "http://127.0.0.1:9")
    assert (status, out) == (1, "")
    assert err == "sluice: the service cannot be reached (ConnectError): http://127.0.0.1:9\n"


async def test_the_service_of_this_environment_is_asked() -> None:
    async with serving(*WORDS, Done("A2", ANSWER)) as house:
        settings = {"SLUICE_PORT": str(house.port), "OPENAI_API_KEY": "and no OPENAI_MODEL"}
        assert await ran("ask", "Why?", **settings) == (0, f"{ANSWER}\n", "")


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (
            ("--url", "localhost:8000"),
            "localhost:8000 is no address, such as http://127.0.0.1:8000",
        ),
        (("--token", "ü"), "--token holds what cannot be sent"),
    ],
)
async def test_what_cannot_be_asked_is_told_in_one_line(option: Sequence[str], says: str) -> None:
    assert await ran("ask", "Why?", *option) == (1, "", f"sluice: {says}\n")


async def test_it_says_its_version_and_completes_for_shells() -> None:
    assert await ran("--version") == (0, f"sluice {version('sluice')}\n", "")
    for shell, says in (("bash", "IFS"), ("zsh", "#compdef"), ("fish", "--no-files")):
        told = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # it may run below none
        status, out, _ = await ran("--show-completion", shell, **told)
        assert status == 0
        assert says in out


async def test_a_misspelt_variable_is_told_at_start_by_its_name_alone(tmp_path: Path) -> None:
    settings = {"SLUICE_STORE": "memory://", "SLUICE_PIPLINE": "secret:build"}
    service = Service(tmp_path / "service.log", settings)
    try:
        await service.start()
        assert "SLUICE_PIPLINE is no setting: is SLUICE_PIPELINE meant?" in service.life
        assert "secret" not in service.life
    finally:
        await service.aclose()


def shown(*events: Event, width: int = 40) -> str:
    """All that a terminal is sent, without what moves its cursor."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, color_system=None)
    with Terminal(console) as display:
        for number, event in enumerate(events, 1):
            name, data = encode(event)
            display.show(Received("j", f"1-{number}", name, json.loads(data), event))
    return screen.getvalue()


def test_a_terminal_shows_stages_while_they_run_and_each_line_of_the_answer_once() -> None:
    lines = [f"line {number}\n" for number in range(100)]
    drawn = shown(
        StageStarted("intent", 1),
        StageCompleted("intent", 10),
        StageStarted("answer", 20),
        *(Token(piece, "answer") for piece in (*lines, "the ", "end")),
        Done("A2", "".join(lines) + "the end"),
    )
    assert "answer" in drawn
    for line in ("line 0\n", "line 57\n", "line 99\n"):
        assert drawn.count(line) == 1
    assert drawn.count("the end") == 1


def test_what_is_taken_back_is_marked_and_the_old_path_shows_its_answer_whole() -> None:
    drawn = shown(Token("wrong\n", "answer"), Reset("revised"), Token("right", "answer"))
    assert drawn.index("wrong") < drawn.index("begins anew") < drawn.index("right")
    assert "begins anew" not in shown(Reset("new_attempt"), Token("a", "answer"))
    assert "the whole" in shown(Done("A1", "the whole"))


def test_what_a_model_says_commands_no_terminal() -> None:
    hostile = "\x1b]0;owned\x07\x1b[2J\x9b31m[bold]plain[/bold]\r\x00"
    drawn = shown(Token(hostile, "answer"), StageStarted("\x1b[2Jstage", 1))
    assert "\x1b]0;" not in drawn
    assert "\x1b[2J" not in drawn
    assert "\x9b" not in drawn
    assert "[bold]plain[/bold]" in drawn


@pytest.mark.parametrize(
    ("end", "trouble"),
    [
        (Done("A2", ""), None),
        (Failed("internal", "Sorry.", True, "r1"), "Sorry. (internal, request r1)"),
        (Cancelled("shutdown"), "the answer was cancelled: the service was shut down"),
    ],
)
def test_an_end_that_is_no_answer_is_trouble(end: Event, trouble: str | None) -> None:
    display = Terminal(Console(file=io.StringIO()))
    name, data = encode(end)
    display.show(Received("j", "1-2", name, json.loads(data), end))
    assert display.trouble == trouble
