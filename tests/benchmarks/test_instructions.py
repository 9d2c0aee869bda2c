"""Instructions are counted by valgrind; what is asked of the service meanwhile is tested here."""

import asyncio
import json
import os
import signal
import sys

import pytest

from benchmarks import answers, instructions
from benchmarks.answers import ANSWERS, SERVICES, TOKENS, Client, Mark
from benchmarks.instructions import TOGETHER, Valgrind, compared, dearer, told_as
from benchmarks.processes import clean_environment, free_port


def test_an_answer_and_a_token_are_told_apart_and_from_an_idle_service() -> None:
    answer, token, idle = 9_000_000, 60_000, 500_000
    counts = {"0": 1_000}
    counts["1"] = counts["0"] + ANSWERS * answer + 8 * idle
    counts["2"] = counts["1"] + answer + (TOKENS - 1) * token + 4 * idle
    counts["3"] = counts["2"] + 4 * idle
    marks = [Mark(name, ticks) for name, ticks in zip("0123", (100, 108, 112, 116), strict=True)]
    assert answers.costs(marks, counts) == pytest.approx((answer, token))


KEPT = {TOGETHER: 2.0, "a step": 1.0} | dict.fromkeys(
    (line for service in SERVICES for line in told_as(service)), 100.0
)


def test_ten_percent_more_are_borne_and_named_beyond() -> None:
    assert dearer({name: kept * 1.09 for name, kept in KEPT.items()}, KEPT) == []
    assert dearer(KEPT | {"lone token, A1": 111.0}, KEPT) == ["lone token, A1"]
    assert dearer(KEPT | {"a step": 5.0}, KEPT) == []


def test_a_count_is_told_in_yardsticks_and_in_instructions() -> None:
    told = compared({"answer, llm": 110.0, "a step": 0.5}, KEPT | {"answer, llm": 100.0}, 1e5)
    assert "answer, llm: 110.000 (11.000 M instructions), +10.0%" in told
    assert "a step: 0.500 (0.050 M instructions), -50.0%" in told
    assert compared({"b": 1.0}, {}, 1e6) == "b: 1.000 (1.000 M instructions), new"


async def test_a_process_is_asleep_only_while_none_of_its_threads_runs() -> None:
    waiting = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(5):
        while not answers.asleep(waiting.pid):  # noqa: ASYNC110 - told by /proc alone
            await asyncio.sleep(0.01)
    await waiting.communicate(b"\n")
    assert not answers.asleep(os.getpid())


@pytest.mark.timeout(180)  # it imports all that a service has
@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_is_asked_and_marked(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "VALGRIND", ())
    for name, few in (("WARM", 1), ("ANSWERS", 1), ("TOKENS", 3), ("IDLE_S", 0.2)):
        monkeypatch.setattr(answers, name, few)
    async with answers.upstream() as (model, upstream):
        port = free_port()
        env = clean_environment(answers.settings(port, upstream))
        async with Valgrind([service], env) as process:
            kind, name, pid = await process.said()
            assert (kind, name) == ("service", service)
            async with Client(port, model, int(pid)) as client:
                marks = await answers.ask(client, lambda: process.mark(int(pid)))
            os.kill(int(pid), signal.SIGTERM)
            assert await process.said() == []
            assert await process.counts() == {}
    assert len({mark.process for mark in marks}) == 4
    assert marks[3].ticks > marks[2].ticks


@pytest.mark.parametrize(("again", "status"), [(1.0, 0), (1.2, 1)])
def test_what_is_dearer_is_counted_once_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], again: float, status: int
) -> None:
    """A service that was woken once more beside other work is not dearer."""
    kept: dict[str, float] = json.loads(instructions.KEPT.read_text())
    unit = kept.pop(instructions.UNIT)
    counts = [1.2, again]

    async def counted(*_: str) -> dict[str, float]:
        times = counts.pop(0)
        return {instructions.UNIT: unit} | {name: n * unit * times for name, n in kept.items()}

    monkeypatch.setattr(instructions, "counted", counted)
    monkeypatch.setattr(sys, "argv", ["instructions"])
    assert instructions.main() == status
    assert counts == []
    assert ("Over 10 %" in capsys.readouterr().out) == bool(status)
